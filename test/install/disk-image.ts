/** Reads images of disks by other people's tools. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

export interface Partition {
  readonly node: string;
  /** Both in sectors. */
  readonly start: number;
  readonly size: number;
  readonly type: string;
  readonly name: string;
}

const ENV = {
  ...process.env,
  PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
  MTOOLS_SKIP_CHECK: "1",
};

/** Runs a program that must succeed; returns what it prints. */
export function run(name: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(name, args, { encoding: "utf8", env: ENV });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${name}: ${status}: ${stdout}${stderr}`);
  return stdout;
}

export function partitionsOf(disk: string): Partition[] {
  return JSON.parse(run("sfdisk", "--json", disk)).partitiontable.partitions;
}

/** The partition as a file of its own, in `directory`. */
export function extract(
  disk: string,
  { start, size }: Partition,
  directory: string,
  name: string,
): string {
  const path = join(directory, name);
  const range = [`skip=${start}`, `count=${size}`, "bs=512"];
  run("dd", `if=${disk}`, `of=${path}`, ...range, "conv=sparse", "status=none");
  return path;
}
