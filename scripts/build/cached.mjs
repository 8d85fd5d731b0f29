/**
 * Build steps that are skipped when nothing has changed. A step's key covers everything that its output depends on; a
 * stamp under `.cache/build` holds the key and the output's digest of the last run.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout that is built. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
export const CACHE = join(ROOT, ".cache");

/** SHA-256, in hex. */
export function sha256(...parts) {
  const hash = createHash("sha256");
  for (const part of parts) {
    // The length before each part, so that no two lists run together.
    hash.update(`${part.length}:`).update(part);
  }
  return hash.digest("hex");
}

export function sha256File(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** A key of values and of files' contents (names relative to the checkout, so that its place does not count). */
export function keyOf({ values = [], files = [] }) {
  return sha256(...values, ...files.flatMap((file) => [relative(ROOT, file), sha256File(file)]));
}

/** Runs a command to its end; returns what it printed. What it says on standard error becomes the error. */
export function run(command, args, { cwd = ROOT } = {}) {
  return new Promise((resolve, reject) => {
    const options = {
      cwd,
      maxBuffer: 64 * 1024 * 1024,
      env: { ...process.env, LC_ALL: "C.UTF-8" },
    };
    execFile(command, args, options, (error, stdout, stderr) => {
      if (error === null) resolve({ stdout, stderr });
      else if (error.code === "ENOENT" && !existsSync(cwd)) reject(error);
      else if (error.code === "ENOENT") reject(missingTool(command));
      else reject(new Error(`${command} ${args.join(" ")}\n${stderr || stdout || error.message}`));
    });
  });
}

function missingTool(command) {
  return Object.assign(new Error(`${command} is not on this machine`), {
    hint: "install what the build needs with: npm run setup",
  });
}

/** What a compiler is, for keys: its version, target and configuration. */
export async function describeCompiler(compiler) {
  return (await run(compiler, ["-v"])).stderr;
}

/** A directory that is gone when `action` ends. */
export async function withTemporary(action) {
  mkdirSync(CACHE, { recursive: true });
  const dir = mkdtempSync(join(CACHE, "tmp-"));
  try {
    return await action(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * Makes the file `output` by `make(temporary path, temporary directory)`, unless it is there and of this key. The file
 * appears in one step, so that programs which run from the old one, and other builds, are not disturbed.
 * @returns {Promise<boolean>} whether it was made
 */
export async function cachedFile(output, key, make) {
  const stamp = join(CACHE, "build", `${sha256(output).slice(0, 16)}.json`);
  if (existsSync(output) && existsSync(stamp)) {
    const last = readStamp(stamp);
    if (last?.key === key && last.digest === sha256File(output)) return false;
  }
  await withTemporary(async (dir) => {
    const made = join(dir, "output");
    await make(made, dir);
    mkdirSync(dirname(output), { recursive: true });
    mkdirSync(dirname(stamp), { recursive: true });
    const digest = sha256File(made);
    renameSync(made, output);
    writeFileSync(join(dir, "stamp"), JSON.stringify({ key, digest }));
    renameSync(join(dir, "stamp"), stamp);
  });
  return true;
}

function readStamp(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined; // cut short: as if there were none
  }
}

/** The directory `.cache/<name>-<key>`, made by `make(temporary directory)` unless it is there. */
export async function cachedDirectory(name, key, make) {
  const dir = join(CACHE, `${name}-${key.slice(0, 16)}`);
  if (existsSync(dir)) return dir;
  await withTemporary(async (temporary) => {
    const made = join(temporary, "made");
    mkdirSync(made);
    await make(made);
    try {
      renameSync(made, dir);
    } catch (error) {
      if (!existsSync(dir)) throw error; // else another build was first
    }
  });
  return dir;
}
