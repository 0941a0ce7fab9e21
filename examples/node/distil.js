// Distils a student from Node, with nothing of kdaif but its protos.
//
//   node distil.js HOST:PORT labeled.parquet pool.parquet
//
// KDAIF_PROTOS names the folder that holds kdaif_proto/; the default is the one in this checkout.

import { createHash, randomUUID } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PARENT = "tenants/default";
const CHUNK_BYTES = 512 * 1024;
const DEADLINE_MS = 60_000;

const protos = process.env.KDAIF_PROTOS ?? fileURLToPath(new URL("../../proto", import.meta.url));
const files = ["datasets", "jobs", "weights"].map((name) => `kdaif_proto/v1/${name}.proto`);
// defaults: a field that is 0 or empty does not travel, and should be there nevertheless.
const shape = { keepCase: true, longs: Number, enums: String, defaults: true, includeDirs: [protos] };
const definition = protoLoader.loadSync(files, shape);
const { v1 } = grpc.loadPackageDefinition(definition).kdaif;

const [target, labeledFile, poolFile] = process.argv.slice(2);
if (!poolFile) {
  console.error("usage: node distil.js HOST:PORT labeled.parquet pool.parquet");
  process.exit(2);
}

// A restarting server is not an error to a call that may be repeated; WriteDataset goes on from QueryWriteStatus.
const retryPolicy = {
  maxAttempts: 5, initialBackoff: "0.2s", maxBackoff: "3s", backoffMultiplier: 2, retryableStatusCodes: ["UNAVAILABLE"],
};
const names = [{ service: "kdaif.v1.DatasetService", method: "CreateDataset" },
  { service: "kdaif.v1.DistillationJobService", method: "CreateDistillationJob" },
  { service: "kdaif.v1.DistillationJobService", method: "GetDistillationJob" },
  { service: "kdaif.v1.WeightService", method: "ListSampleWeights" }];
const serviceConfig = { loadBalancingConfig: [], methodConfig: [{ name: names, retryPolicy }] };
const options = { "grpc.service_config": JSON.stringify(serviceConfig) };
const connect = (Service) => new Service(target, grpc.credentials.createInsecure(), options);
const [datasets, jobs, weights] = [v1.DatasetService, v1.DistillationJobService, v1.WeightService].map(connect);

function call(client, method, request) {
  const deadline = new Date(Date.now() + DEADLINE_MS);
  return promisify(client[method].bind(client))(request, new grpc.Metadata(), { deadline });
}

async function sha256(file) {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  return hash.digest("hex");
}

/** The name of the data set of a Parquet file. Bytes that the server has are not sent again. */
async function upload(file, displayName) {
  const size = statSync(file).size;
  const { dataset, committed_size: committed } = await call(datasets, "CreateDataset", {
    parent: PARENT, display_name: displayName, sha256: await sha256(file), size_bytes: size, kind: "KIND_TABLE",
  });
  if (dataset.state === "STATE_READY") return dataset.name;
  await new Promise((resolve, reject) => {
    const stream = datasets.WriteDataset((error, answer) => (error ? reject(error) : resolve(answer)));
    (async () => {
      let offset = committed;
      for await (const data of createReadStream(file, { start: committed, highWaterMark: CHUNK_BYTES })) {
        const isFirst = offset === committed;
        offset += data.length;
        const first = isFirst ? { name: dataset.name, write_offset: committed } : {};
        if (!stream.write({ ...first, data, finish_write: offset >= size })) await new Promise((drained) => stream.once("drain", drained));
      }
      stream.end();
    })().catch(reject);
  });
  return dataset.name;
}

/** Prints every event, and goes on after the last one when the stream breaks. Returns the job once it has ended. */
async function watch(name) {
  let last = 0;
  for (;;) {
    try {
      for await (const { event } of jobs.WatchDistillationJob({ name, after_sequence: last })) {
        last = event.sequence;
        console.log(`#${event.sequence} ${event.kind} ${event.state}`);
      }
    } catch (error) {
      if (![grpc.status.UNAVAILABLE, grpc.status.CANCELLED].includes(error.code)) throw error;
      await new Promise((wake) => setTimeout(wake, 500 + 500 * Math.random()));
    }
    const { job } = await call(jobs, "GetDistillationJob", { name });
    if (["SUCCEEDED", "FAILED", "CANCELLED", "DEAD"].some((state) => job.state === `JOB_STATE_${state}`)) return job;
  }
}

const labeled = await upload(labeledFile, "labeled");
const unlabeled = await upload(poolFile, "pool");
const { job: queued } = await call(jobs, "CreateDistillationJob", {
  parent: PARENT,
  request_id: randomUUID(), // the same id and spec give the same job, however often they are sent
  spec: { labeled, unlabeled, student: { mlp: { hidden_sizes: [16] } }, training: { rounds: 2, seeds: 1 } },
});
console.log(`submitted ${queued.name}`);
const job = await watch(queued.name);
console.log(`${job.state}: ${job.result?.verdict ?? job.failure?.message}`);
if (job.state !== "JOB_STATE_SUCCEEDED") process.exit(1);

const { weights: page, total_size: total } = await call(weights, "ListSampleWeights", {
  parent: job.name, order_by: "val_loss_change_if_upweighted desc", page_size: 10,
});
console.log(`the ${page.ids.length} most harmful of ${total} samples`);
page.ids.forEach((id, at) => console.log(`${id} weight ${page.weight[at].toFixed(3)} teacher ${page.pseudo_label[at]}`));
for (const client of [datasets, jobs, weights]) client.close();
