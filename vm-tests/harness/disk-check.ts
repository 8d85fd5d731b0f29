/** What is on an installed disk, looked at from outside while its machine is off. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { objectPath } from "../../src/formats/digest.ts";
import { CACHE } from "./cache.ts";
import { type DiskPartition, partitionNamed } from "./disk-partitions.ts";
import { quoted } from "./ext4.ts";

const MIB = 1 << 20;

/** Runs it, and returns what it prints; the exit status must be one of these. */
function run(command: string, args: readonly string[], statuses: readonly number[] = [0]): string {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", env });
  if (statuses.includes(status ?? -1)) return stdout;
  throw new Error(`${command} ${args.join(" ")}: ${stdout}${stderr}`);
}

/** Hands a copy of a partition to `look`. */
function withPart<T>(disk: string, { start, size }: DiskPartition, look: (image: string) => T): T {
  const scratch = mkdtempSync(join(CACHE, "part-"));
  try {
    const image = join(scratch, "part");
    const part = [`skip=${start / MIB}`, `count=${size / MIB}`];
    run("dd", [`if=${disk}`, `of=${image}`, "bs=1M", ...part, "conv=sparse", "status=none"]);
    return look(image);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/**
 * What these deployments lack of what it takes to boot them, for people, once the journal of the root file system has been
 * replayed. A `?` before an id: fs-verity is not required.
 */
export function damageOf(disk: string, ids: readonly string[]): string[] {
  return withPart(disk, partitionNamed(disk, "root"), (image) => {
    run("e2fsck", ["-fy", "-E", "journal_only", image], [0, 1]);
    const ask = (command: string, path: string) =>
      run("debugfs", ["-R", `${command} ${quoted(path)}`, image]);
    return ids.flatMap((wanted) => {
      const id = wanted.replace("?", "");
      const name = ask("stat", `/composefs/images/${id}`);
      const object = ask("stat", `/composefs/objects/${objectPath(id)}`);
      const state = ask("ls -p", `/state/deploy/${id}`);
      const etc = ask("ls -p", `/state/deploy/${id}/etc`);
      const problems = [
        ...(/Type: symlink/.test(name) ? [] : ["it has no image"]),
        // EXT4_VERITY_FL
        ...(/Flags: 0x1[0-9a-f]{5}\b/.test(object) || id !== wanted
          ? []
          : ["its image has no fs-verity"]),
        ...(/\/[0-9a-f]+\.origin\//.test(state) ? [] : ["it has no origin"]),
        ...(/\/var\//.test(state) ? [] : ["it has no /var"]),
        ...(/\/app\.conf\//.test(etc) ? [] : ["it has no /etc"]),
      ];
      return problems.map((problem) => `${id.slice(0, 12)}: ${problem}`);
    });
  });
}

/** What fsck.fat says of what FAT, which has no journal, loses in any power cut, and of a file system without errors. */
const HARMLESS = [
  /^fsck\.fat /,
  /: \d+ files, \d+\/\d+ clusters$/,
  // the mark that it was not unmounted, which is in the boot sector, and not in its backup
  /[Dd]irty bit|not properly unmounted|some data may be corrupt/,
  /^There are differences between boot sector and its backup|^This is mostly harmless/,
  /^\s+65:01\/00$|^\s+Not automatically fixing/,
  /^Reclaimed \d+ unused cluster/,
  /^Free cluster summary wrong/,
  /^\s*(?:Automatically|Auto-)/,
  /^Leaving filesystem unchanged|^$/,
];

/** Throws if a file system of a machine that was shut down has an error. */
export function checkDisk(disk: string): void {
  run("e2fsck", ["-fn", `${disk}?offset=${partitionNamed(disk, "root").start}`]);
  const esp = partitionNamed(disk, "EFI-SYSTEM");
  const output = withPart(disk, esp, (image) => run("fsck.fat", ["-n", image], [0, 1]));
  const errors = output.split("\n").filter((line) => !HARMLESS.some((is) => is.test(line)));
  if (errors.length > 0) throw new Error(`the ESP: ${output}`);
}
