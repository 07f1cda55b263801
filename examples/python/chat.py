"""Follows a support chat as it goes on, as a tool that helps the agent would.

Set up as client.py says; then, from the top of the repository, one message a line, with its role before it:

    printf '%s\n' 'customer: ของพังมาเลยค่ะ แย่มาก' 'agent: ส่งใหม่ให้ฟรีเลยนะคะ' 'customer: จริงเหรอคะ ขอบคุณมากค่ะ' |
        python examples/python/chat.py 127.0.0.1:50051

With a file, an export of LINE or a table of messages, it asks for the whole conversation at once:

    python examples/python/chat.py 127.0.0.1:50051 examples/chats/parcel.txt
"""

import sys
import time

import grpc

from arom.v1 import conversation_pb2, conversation_service_pb2, conversation_service_pb2_grpc


ROLES = {"customer": conversation_pb2.CONVERSATION_ROLE_CUSTOMER, "agent": conversation_pb2.CONVERSATION_ROLE_AGENT,
         "bot": conversation_pb2.CONVERSATION_ROLE_BOT}


def events(texts: list[str]):
    """A message for each line, as it comes."""
    for line in sys.stdin:
        role, _, text = line.strip().partition(": ")
        texts.append(text)
        message = conversation_pb2.ConversationMessage(role=ROLES.get(role), text=text)
        message.send_time.FromSeconds(int(time.time()))
        yield conversation_service_pb2.StreamConversationRequest(message=message)


def line(message: conversation_pb2.AnalyzedMessage, text: str) -> str:
    score = f"{message.sentiment.score:+.2f}" if message.HasField("sentiment") else "     "
    curve = f"{message.smoothed_score:+.2f}" if message.HasField("smoothed_score") else "     "
    names = [conversation_pb2.EscalationCue.Name(cue).removeprefix("ESCALATION_CUE_").lower() for cue in message.cues]
    return f"{message.speaker:<10} {score} {curve} {text}" + (f"  [{', '.join(names)}]" if names else "")


def follow(client: conversation_service_pb2_grpc.ConversationServiceStub) -> None:
    texts: list[str] = []
    for answer in client.StreamConversation(events(texts)):
        if answer.WhichOneof("outcome") == "error":
            print(f"error {answer.error.message}", flush=True)
            continue
        print(line(answer.update.message, texts[answer.index]), flush=True)
        print(f"    {answer.update.trajectory.summary}", flush=True)


def whole(client: conversation_service_pb2_grpc.ConversationServiceStub, file: str) -> None:
    with open(file, "rb") as content:
        export = conversation_pb2.ConversationExport(content=content.read())
    request = conversation_service_pb2.AnalyzeConversationRequest(export=export, include_texts=True)
    answer = client.AnalyzeConversation(request, timeout=60)
    for message in answer.messages:
        print(line(message, message.text.replace("\n", " ")))
    print(answer.trajectory.summary)


def main(address: str = "127.0.0.1:50051", file: str = "") -> None:
    with grpc.insecure_channel(address) as channel:
        client = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        whole(client, file) if file else follow(client)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
    except KeyboardInterrupt:
        sys.exit(130)
