/**
 * Garbage collection, check and info of repositories of 10⁴, 10⁵ and more objects: time and peak memory of the process.
 *
 *     node bench/gc.ts [OBJECTS…]        default: 10000 100000; 1000000 takes about 5 GB of disk
 *
 * A repository has ten images, each with as many objects of its own, of 100 bytes; every other one loses its name before
 * the collection, and with it half of the objects go. SHA-512, insecure: all content is hashed by fsck. Prints a table.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { objectPath, toHex } from "../src/formats/digest.ts";
import { CONTENT_TYPES } from "../src/formats/splitstream.ts";
import { SplitstreamWriter } from "../src/formats/splitstream-writer.ts";
import { digestBytes } from "../userspace/hash.ts";
import { initRepository } from "../userspace/repository/init.ts";
import { openRepository } from "../userspace/repository/repository.ts";
import { zstd } from "../userspace/zstd.ts";

const HASH = "sha512";
const IMAGES = 10;
const OBJECT_SIZE = 100;
const program = fileURLToPath(new URL("../dist/cfsboot.mjs", import.meta.url));

/** Prints the peak memory in KiB on standard error when the program ends. */
const PEAK = `data:text/javascript,process.on("exit",()=>process.stderr.write("peak "+process.resourceUsage().maxRSS+"\\n"))`;

function fill(path: string, objects: number): void {
  initRepository(path, { hash: HASH, format: 1, insecure: true });
  for (let first = 0; first < 256; first++) {
    const name = first.toString(16).padStart(2, "0");
    mkdirSync(join(path, "objects", name), { recursive: true });
  }
  using repository = openRepository(path);
  const size = Math.ceil(objects / IMAGES);
  const data = new Uint8Array(OBJECT_SIZE);
  const view = new DataView(data.buffer);
  for (let image = 0; image < IMAGES; image++) {
    const stream = new SplitstreamWriter(HASH, CONTENT_TYPES["oci-layer"], zstd);
    for (let i = 0; i < size; i++) {
      view.setUint32(0, image * size + i);
      const digest = digestBytes(HASH, data);
      writeFileSync(join(path, "objects", objectPath(toHex(digest))), data);
      stream.external(digest, OBJECT_SIZE);
    }
    const name = `oci-layer-${image}`;
    repository.writeStream(name, stream.finish(), { existing: "keep", ref: `bench/${image}` });
  }
}

function measure(...args: string[]): { seconds: number; peak: number } {
  const start = process.hrtime.bigint();
  const { status, stderr } = spawnSync(process.execPath, ["--import", PEAK, program, ...args], {
    encoding: "utf8",
  });
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  if (status !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
  return { seconds, peak: Number(/peak (\d+)/.exec(stderr)?.[1]) / 1024 };
}

const counts = process.argv.slice(2).map(Number);
const scratch = mkdtempSync(join(process.env.TMPDIR ?? tmpdir(), "bench-gc-"));
try {
  console.log("objects   command             seconds  peak MiB");
  for (const objects of counts.length > 0 ? counts : [10_000, 100_000]) {
    const path = join(scratch, "repository");
    fill(path, objects);
    execFileSync("sync"); // else the first to sync a directory pays for all that was written here
    const row = (name: string, ...args: string[]) => {
      const { seconds, peak } = measure("repo", ...args, "--repo", path);
      const cells = [String(objects).padEnd(8), name.padEnd(18), seconds.toFixed(2).padStart(8)];
      console.log(`${cells.join("  ")}  ${peak.toFixed(0).padStart(8)}`);
    };
    row("info", "info");
    row("fsck", "fsck");
    row("fsck, names only", "fsck", "--metadata-only");
    row("gc, nothing to do", "gc");
    for (let image = 0; image < IMAGES; image += 2) {
      rmSync(join(path, "streams/refs/bench", String(image)));
    }
    row("gc --dry-run", "gc", "--dry-run");
    row("gc, half goes", "gc");
    rmSync(path, { recursive: true });
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
