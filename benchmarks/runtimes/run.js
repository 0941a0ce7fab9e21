// node run.js FOLDER: runs every case of cases.json in onnxruntime-node; writes NAME.node.bin, logits then probabilities.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ort from "onnxruntime-node";

const ARRAYS = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array };
const folder = process.argv[2];

for (const { name, dtype, shape } of JSON.parse(readFileSync(join(folder, "cases.json"), "utf8"))) {
  const bytes = readFileSync(join(folder, `${name}.bin`));
  const rows = new ARRAYS[dtype](bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const session = await ort.InferenceSession.create(join(folder, `${name}.onnx`));
  const { logits, probabilities } = await session.run({ input: new ort.Tensor(dtype, rows, shape) });
  const both = new Float32Array([...logits.data, ...probabilities.data]);
  writeFileSync(join(folder, `${name}.node.bin`), Buffer.from(both.buffer));
}
