/** What a boot loader finds on an ESP, read from outside. */
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";

function mtools(program: string, image: string, path: string): SpawnSyncReturns<Buffer> {
  // without -b, mdir prints what it likes
  const args = ["-i", image, ...(program === "mdir" ? ["-b"] : []), path];
  const env = { ...process.env, MTOOLS_SKIP_CHECK: "1" };
  return spawnSync(program, args, { maxBuffer: 1 << 28, env });
}

export interface BootEntry {
  readonly file: string;
  /** The deployment; a `?` before it if fs-verity is not required. */
  readonly id: string;
  /** SHA-256 of `linux` and `initrd`, if they are there. */
  readonly kernel: readonly (string | undefined)[];
}

/** The boot entries of an ESP that begins `start` bytes from the start of `disk`. What cannot be read is none. */
export function bootMenu(disk: string, start: number): BootEntry[] {
  const image = `${disk}@@${start}`;
  const listed = mtools("mdir", image, "::loader/entries");
  const names = listed.stdout.toString().split("\n").filter(Boolean).sort();
  return names.map((path) => {
    const text = mtools("mtype", image, path).stdout.toString();
    const kernel = ["linux", "initrd"].map((key) => {
      const file = new RegExp(`^${key} +(\\S+)$`, "m").exec(text)?.[1] ?? "";
      const { status, stdout } = mtools("mtype", image, `::${file}`);
      return status === 0 ? createHash("sha256").update(stdout).digest("hex") : undefined;
    });
    const id = /\bcomposefs=(\??[0-9a-f]+)/.exec(text)?.[1] ?? "";
    return { file: path.replace(/^.*\//, ""), id, kernel };
  });
}
