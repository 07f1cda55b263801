// grpc-js against the age of a connection: the long stream goes on until the grace ends, and no unary call fails.
//
//     node tests/node/connections.mjs HOST:PORT FOLDER-WITH-NODE-MODULES
//
// It expects a server with --max-connection-age-seconds 1 and --max-connection-age-grace-seconds 3.

import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const GRACE_SECONDS = 3;
const [address, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync("arom/v1/sentiment_service.proto", { includeDirs: ["proto"] });
const { SentimentService } = grpc.loadPackageDefinition(definition).arom.v1;
// With grpc-js's own settings: there is no retry policy, but a call that the server refuses without having seen it
// (REFUSED_STREAM, when a call and GOAWAY cross) is sent again on the new connection.
const client = new SentimentService(address, grpc.credentials.createInsecure());

const unary = (text) => new Promise((resolve, reject) => {
  client.AnalyzeSentiment({ text }, { deadline: Date.now() + 60_000 }, (error, answer) => error ? reject(error) : resolve(answer));
});

await unary("เริ่ม");
let ended = false, answered = 0, streamed = 0;
const failures = [];
const callers = Array.from({ length: 8 }, async (_, caller) => {
  while (!ended) {
    try {
      await unary(`ดี ${caller} ${answered}`);
      answered += 1;
    } catch (error) {
      failures.push(`${error.code}: ${error.details}`);
    }
  }
});

const stream = client.StreamAnalyzeSentiment();
const begun = performance.now();
const end = new Promise((resolve) => {
  stream.on("data", () => { streamed += 1; });
  stream.on("error", (error) => resolve(error.code));
  stream.on("end", () => resolve("it ended without an error"));
});
(async () => {
  while (!ended) {
    stream.write({ request: { text: "ช้าแต่ชัวร์" } });
    await sleep(50);
  }
})();
const code = await end;
const lasted = (performance.now() - begun) / 1000;
ended = true;
await Promise.all(callers);
client.close();

const faults = [
  failures.length > 0 && `unary calls failed: ${failures.slice(0, 5)}`,
  // How many is a matter of the machine.
  (answered === 0 || streamed === 0) && `too little was answered: ${answered} ${streamed}`,
  // grpc-js says CANCELLED or UNAVAILABLE for a stream whose connection is closed under it.
  // The server times it from the GOAWAY. On a busy machine the stream may begin while that is on its way.
  lasted < GRACE_SECONDS / 2 && `the stream ended after ${lasted} s`,
  typeof code !== "number" && code,
].filter(Boolean);
if (faults.length > 0) {
  console.error(faults.join("\n"));
  process.exit(1);
}
console.log(`age: ok: ${answered} unary calls, none failed; the stream gave ${streamed} answers in ${lasted.toFixed(1)} s`);
