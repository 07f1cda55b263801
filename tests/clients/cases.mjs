// The calls of cases.json by @grpc/grpc-js, with the protos of the repository.
//
//     node tests/clients/cases.mjs ADDRESS FOLDER_OF_NODE_MODULES

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [address, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const grpc = require("@grpc/grpc-js");
const protobuf = require("protobufjs");

const root = new protobuf.Root();
root.resolvePath = (_, target) => (target.startsWith("google/protobuf/") ? `${modules}/protobufjs/${target}` : `proto/${target}`);
const services = ["arom/v1/sentiment_service", "arom/v1/conversation_service", "arom/v1/profile_service", "grpc/health/v1/health"];
root.loadSync([...services, "google/rpc/error_details"].map((name) => `${name}.proto`), { keepCase: true });
root.resolveAll();

const shape = { enums: String, longs: String, bytes: String, defaults: true };

/** A message as JSON, with what is inside of each Any. */
function shown(type, message) {
  const opened = (value) => {
    if (Array.isArray(value)) return value.map(opened);
    if (value === null || typeof value !== "object") return value;
    if (typeof value.type_url === "string") {
      const inner = root.lookupType(value.type_url.split("/").at(-1));
      return { "@type": value.type_url, ...inner.toObject(inner.decode(Buffer.from(value.value, "base64")), shape) };
    }
    return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, opened(field)]));
  };
  return JSON.stringify(opened(type.toObject(message, shape)));
}

/** Times and durations of JSON as the messages that they stand for. */
function read(type, fields) {
  const convert = (type, fields) =>
    Object.fromEntries(Object.entries(fields).map(([name, value]) => {
      const field = type.fields[name].resolve();
      const of = field.resolvedType?.fullName;
      const one = (value) => {
        if (of === ".google.protobuf.Timestamp") return { seconds: Math.floor(Date.parse(value) / 1000) };
        if (of === ".google.protobuf.Duration") return { seconds: Number.parseInt(value, 10) };
        return field.resolvedType instanceof protobuf.Type ? convert(field.resolvedType, value) : value;
      };
      return [name, Array.isArray(value) ? value.map(one) : one(value)];
    }));
  return type.fromObject(convert(type, fields));
}

function call(client, { method, requests, take }) {
  const [service, name] = method.split("/");
  const { resolvedRequestType: request, resolvedResponseType: response, requestStream, responseStream } =
    root.lookupService(service).methods[name].resolve();
  const write = (message) => Buffer.from(request.encode(message).finish());
  const parse = (bytes) => response.decode(bytes);
  const messages = requests.map((fields) => read(request, fields));
  const options = { deadline: Date.now() + 60_000 };
  return new Promise((resolve) => {
    const answers = [];
    const ended = (error) => {
      if (error && answers.length !== take) {
        const status = root.lookupType("google.rpc.Status");
        const details = error.metadata?.get("grpc-status-details-bin")[0] ?? Buffer.alloc(0);
        resolve([grpc.status[error.code], shown(status, status.decode(details)) + error.message]);
      } else resolve(["OK", answers.join("\n")]);
    };
    const path = `/${method}`;
    const metadata = new grpc.Metadata();
    if (!responseStream) {
      client.makeUnaryRequest(path, write, parse, messages[0], metadata, options, (error, answer) => {
        if (answer) answers.push(shown(response, answer));
        ended(error);
      });
      return;
    }
    const stream = requestStream
      ? client.makeBidiStreamRequest(path, write, parse, metadata, options)
      : client.makeServerStreamRequest(path, write, parse, messages[0], metadata, options);
    stream.on("data", (answer) => {
      answers.push(shown(response, answer));
      if (answers.length === take) stream.cancel();
    });
    stream.on("error", ended);
    stream.on("end", () => ended(null));
    if (requestStream) {
      messages.forEach((message) => stream.write(message));
      stream.end();
    }
  });
}

const now = new Date().toISOString();
const cases = JSON.parse(readFileSync(new URL("cases.json", import.meta.url), "utf8").replace('"NOW"', `"${now}"`));
const client = new grpc.Client(address, grpc.credentials.createInsecure());
let wrong = 0;
for (const wanted of cases) {
  const [code, seen] = await call(client, wanted);
  const missing = wanted.wants.filter((word) => !seen.includes(word));
  if (code !== (wanted.code ?? "OK") || missing.length > 0) {
    wrong += 1;
    console.error(wanted.method, JSON.stringify(wanted.requests), code, "without", missing, "in", seen);
  }
}
client.close();
if (wrong > 0) {
  console.error(`${wrong} of ${cases.length} calls went wrong`);
  process.exit(1);
}
console.log(`${cases.length} calls: ok`);
