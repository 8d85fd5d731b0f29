/**
 * Files that take long to make, kept under `.cache/vm` by what they are made from: the name, then a hash of all inputs.
 */
import { createHash } from "node:crypto";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
export const CACHE = join(PROJECT, ".cache", "vm");

/** How many results of one name are kept; the one used longest ago goes first. */
const KEPT = 3;

/** A hash over strings and byte arrays; each one counts for itself, not only their concatenation. */
export function hashOf(...inputs: (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const input of inputs) {
    const bytes = typeof input === "string" ? Buffer.from(input) : input;
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest("hex").slice(0, 24);
}

/** A hash over the names, modes and contents of all files below a directory; over one file also. */
export function hashOfTree(path: string): string {
  const inputs: (string | Uint8Array)[] = [];
  const visit = (at: string, name: string) => {
    const stat = statSync(at);
    if (stat.isDirectory()) {
      for (const child of readdirSync(at).sort()) visit(join(at, child), `${name}/${child}`);
    } else inputs.push(name, stat.mode.toString(8), readFileSync(at));
  };
  visit(path, "");
  return hashOf(...inputs);
}

const underWay = new Map<string, Promise<string>>();

/**
 * The path of what `make` made from inputs with this key (see `hashOf`), now or earlier. `make` writes a file or a
 * directory at the path that it is given; nothing is kept when it throws.
 */
export function cached(
  name: string,
  key: string,
  make: (path: string) => void | Promise<void>,
): Promise<string> {
  const path = join(CACHE, name, key);
  let result = underWay.get(path);
  if (result === undefined) {
    result = use(path, make).finally(() => underWay.delete(path));
    underWay.set(path, result);
  }
  return result;
}

async function use(path: string, make: (path: string) => void | Promise<void>): Promise<string> {
  const now = new Date();
  try {
    utimesSync(path, now, now);
    return path;
  } catch {
    // not there yet
  }
  const parent = join(path, "..");
  mkdirSync(parent, { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await make(temporary);
    try {
      renameSync(temporary, path);
    } catch (error) {
      // somebody else was faster
      if (!["ENOTEMPTY", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? ""))
        throw error;
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  utimesSync(path, now, now);
  prune(parent);
  return path;
}

function prune(directory: string): void {
  const entries = readdirSync(directory)
    .filter((name) => !name.endsWith(".tmp"))
    .map((name) => ({ path: join(directory, name), used: statSync(join(directory, name)).mtimeMs }))
    .sort((a, b) => b.used - a.used);
  for (const { path } of entries.slice(KEPT)) rmSync(path, { recursive: true, force: true });
}
