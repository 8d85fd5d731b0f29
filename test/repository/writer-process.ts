/** Stores the same 200 objects in an order of its own: `node writer-process.ts REPOSITORY STEP`. */
import { toHex } from "../../src/formats/digest.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { streamOf } from "./fixture.ts";

const [path, step] = process.argv.slice(2) as [string, string];
const COUNT = 200;
using repository = openRepository(path);
const digests = new Map<number, Uint8Array>();
for (let i = 0; i < COUNT; i++) {
  const index = (i * Number(step)) % COUNT;
  const writer = repository.createObject();
  writer.write(Buffer.alloc(100 + index * 31, `content ${index}`));
  digests.set(index, writer.finish().digest);
}
const ordered = [...digests].sort(([a], [b]) => a - b).map(([, digest]) => digest);
const stream = repository.writeStream("oci-layer-x", streamOf(repository.hash, ordered), {
  existing: "keep",
});
process.stdout.write(toHex(stream));
