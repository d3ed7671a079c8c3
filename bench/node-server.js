// Inference in Node with onnxruntime-node, as it is written in an afternoon: node-server.js PORT MODEL.onnx
// Needs `npm install onnxruntime-node` in the folder it is run from.
const { createRequire } = require("module");
const ort = createRequire(process.cwd() + "/")("onnxruntime-node");
const http = require("http");

const [port, model] = process.argv.slice(2);
const types = { FP32: ["float32", Float32Array], FP64: ["float64", Float64Array], INT64: ["int64", BigInt64Array] };

ort.InferenceSession.create(model, { intraOpNumThreads: 1 }).then((session) => {
  http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      const feeds = {};
      for (const input of JSON.parse(Buffer.concat(parts)).inputs) {
        const [type, array] = types[input.datatype];
        feeds[input.name] = new ort.Tensor(type, array.from(input.data.flat(Infinity)), input.shape);
      }
      const results = await session.run(feeds);
      const outputs = Object.entries(results).map(([name, tensor]) => ({ name, shape: tensor.dims, data: Array.from(tensor.data, Number) }));
      const body = JSON.stringify({ outputs });
      response.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
      response.end(body);
    });
  }).listen(Number(port), "127.0.0.1");
});
