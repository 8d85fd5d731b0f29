/** The program as it is shipped, on file systems that have too little room: what it says, and what it leaves. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { image, tar, writeLayout } from "./fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const FILES = 300;

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "full-disk-"));
  mkdirSync(join(scratch, "disk"));
  const layers = ["first", "second"].map((name) => {
    const files = Array.from({ length: FILES }, (_, i) => ({
      path: `usr/${name}/${i}`,
      data: `${name} ${i} `.repeat(i * 4),
    }));
    const bytes = tar([{ path: "usr/" }, { path: `usr/${name}/` }, ...files]);
    return { tar: bytes, compression: "gzip" as const };
  });
  writeLayout(join(scratch, "layout"), [{ image: image(layers) }]);
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** Makes a file system, and gives it more room. */
const FILE_SYSTEMS = [
  {
    what: "tmpfs with few blocks",
    make: "mount -t tmpfs -o size=1500k none $disk",
    enlarge: "mount -o remount,size=100M $disk",
  },
  {
    what: "tmpfs with few inodes",
    make: "mount -t tmpfs -o nr_inodes=300 none $disk",
    enlarge: "mount -o remount,nr_inodes=100k $disk",
  },
  {
    what: "ext4",
    make: "truncate -s 3M $disk.img; mkfs.ext4 -q -O verity,^has_journal -m 0 -b 4096 -N 4000 $disk.img; mount -o loop $disk.img $disk",
    enlarge:
      "umount $disk; truncate -s 60M $disk.img; resize2fs $disk.img 2>/dev/null; mount -o loop $disk.img $disk",
  },
];

test.for(FILE_SYSTEMS)("$what", ({ make, enlarge }, ctx) => {
  if (process.getuid?.() !== 0) ctx.skip("only root can mount");
  const script = `
${make} || exit 77
run() { "$@" --repo $disk/repo; }
run $cfsboot repo init --insecure --hash sha256
for i in 1 2 3; do
  run $cfsboot image pull oci:$scratch/layout x && exit 78
  run $cfsboot repo fsck
done
run $cfsboot repo gc
find $disk/repo/objects ! -type d | wc -l
${enlarge}
run $cfsboot image pull oci:$scratch/layout x
run $cfsboot repo gc
run $cfsboot repo fsck
umount $disk
`;
  const { status, stdout, stderr } = spawnSync("unshare", ["-m", "bash", "-ec", script], {
    encoding: "utf8",
    env: {
      ...process.env,
      scratch,
      disk: join(scratch, "disk"),
      cfsboot: `${process.execPath} ${CFSBOOT}`,
    },
  });
  if (status === 77) ctx.skip(`cannot make one here: ${stderr.trim()}`);
  const errors = stderr.trim().split(/\n(?=cfsboot)/);
  const full =
    /^cfsboot: error: pull oci:\S+: .*: no space left on device\nhint: make room in .*$/i;
  expect(errors).toEqual(Array(3).fill(expect.stringMatching(full)));
  expect(status).toBe(0);
  expect(stdout.match(/^status: ok$/gm)).toHaveLength(4);
  // nothing was named, so nothing of it stays
  expect(stdout).toMatch(/^Objects: \d+ removed .*\n(Pruned.*\n)?0$/m);
  expect(stdout).toMatch(/^oci images: 1\/1 ok$/m);
});
