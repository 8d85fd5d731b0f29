/** ext4 file systems in plain files, made and changed without mounting them. */
import { spawnSync } from "node:child_process";
import { closeSync, lstatSync, openSync, readdirSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";

/** e2fsprogs are in sbin, which is not on every user's PATH. */
const ENV = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const BLOCK = 4096;
const MIB = 1 << 20;

export interface Ext4Options {
  /** The `verity` feature. */
  readonly verity: boolean;
  /** Free space, in MiB. */
  readonly freeMib: number;
}

/** Makes `image` an ext4 file system that holds what is below `directory`. */
export function makeExt4(image: string, directory: string, options: Ext4Options): void {
  const { bytes, inodes } = usage(directory);
  const size = Math.ceil((bytes * 1.05 + inodes * 300) / MIB) + 24 + options.freeMib;
  run("mke2fs", [
    "-q",
    "-t",
    "ext4",
    "-b",
    `${BLOCK}`,
    "-m",
    "0",
    "-O",
    options.verity ? "verity" : "^verity",
    "-E",
    "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0",
    "-d",
    directory,
    image,
    `${size}M`,
  ]);
}

/** Runs `debugfs` requests that change the file system; any that fails is an error. */
export function debugfs(image: string, requests: readonly string[]): void {
  // it exits 0 whatever happens, echoes each request and prints what went wrong
  const { stdout, stderr } = run("debugfs", ["-w", "-f", "-", image], `${requests.join("\n")}\n`);
  const failure = `${stderr}${stdout}`
    .split("\n")
    .find((line) => line !== "" && !line.startsWith("debugfs"));
  if (failure !== undefined) throw new Error(`debugfs ${image}: ${failure}`);
}

/** A path as `debugfs` reads it. */
export function quoted(path: string): string {
  return `"${path.replaceAll('"', '""')}"`;
}

/**
 * Flips one bit of a file's data on the disk, behind the file system's back. `offset` counts from the file's start, and
 * `start` is where the file system begins in `image`, both in bytes.
 */
export function flipBit(image: string, path: string, offset = 0, start = 0): void {
  const request = `bmap ${quoted(path)} ${Math.floor(offset / BLOCK)}`;
  const { stdout, stderr } = run("debugfs", ["-R", request, `${image}?offset=${start}`]);
  const block = Number(stdout.trim());
  if (!(block > 0)) throw new Error(`debugfs ${request}: ${stdout}${stderr}`);
  const position = start + block * BLOCK + (offset % BLOCK);
  const fd = openSync(image, "r+");
  try {
    const byte = Buffer.alloc(1);
    readSync(fd, byte, 0, 1, position);
    byte[0]! ^= 1;
    writeSync(fd, byte, 0, 1, position);
  } finally {
    closeSync(fd);
  }
}

/**
 * A file as those read it who do not replay the journal, nor look at checksums, as boot loaders; `undefined` if there is none
 * for them. `start` is where the file system begins in `image`, in bytes.
 */
export function readUnreplayed(image: string, path: string, start: number): Buffer | undefined {
  const args = ["-n", "-R", `cat ${quoted(path)}`, `${image}?offset=${start}`];
  const { stdout, stderr } = spawnSync("debugfs", args, { env: ENV, maxBuffer: 256 * MIB });
  // it exits 0 whatever happens, and says first what it is
  return /^(?!debugfs ).+/m.test(`${stderr}`) ? undefined : stdout;
}

/** Where in `image` the blocks of a file or a directory are, in bytes; its file system begins at `start`. */
export function blocksOf(
  image: string,
  path: string,
  start: number,
): { readonly start: number; readonly size: number }[] {
  const { stdout } = run("debugfs", ["-R", `blocks ${quoted(path)}`, `${image}?offset=${start}`]);
  const blocks = stdout.split(/\s+/).filter(Boolean).map(Number);
  if (!(blocks.length > 0 && blocks.every((block) => block > 0)))
    throw new Error(`debugfs: blocks of ${path}: ${stdout}`);
  return blocks.map((block) => ({ start: start + block * BLOCK, size: BLOCK }));
}

function run(command: string, args: string[], input = ""): { stdout: string; stderr: string } {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    encoding: "utf8",
    env: ENV,
    input,
    maxBuffer: 64 * MIB,
  });
  if (error) throw new Error(`cannot run ${command}`, { cause: error });
  if (status !== 0) throw new Error(`${command} failed: ${stderr.trim()}`);
  return { stdout, stderr };
}

function usage(directory: string): { bytes: number; inodes: number } {
  let bytes = 0;
  let inodes = 0;
  const visit = (path: string) => {
    const stat = lstatSync(path);
    inodes++;
    if (stat.isDirectory()) {
      bytes += BLOCK;
      for (const name of readdirSync(path)) visit(join(path, name));
    } else if (stat.isFile()) bytes += Math.ceil((stat.blocks * 512) / BLOCK) * BLOCK;
  };
  visit(directory);
  return { bytes, inodes };
}
