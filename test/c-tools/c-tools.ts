/**
 * The C project's own tools (composefs 1.0), from Debian sid. They run on sid's libraries wherever they are unpacked, so
 * nothing is installed.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { downloadPackage } from "../../scripts/debian-packages.mjs";

const CACHE = fileURLToPath(new URL("../../.cache", import.meta.url));
const SUITE = "sid";
const PACKAGES = ["composefs", "libcomposefs1", "libc6", "libssl3t64", "zlib1g", "libzstd1"];

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export type CTool = "mkcomposefs" | "composefs-info" | "mount.composefs";

export interface CTools {
  /** Command and first arguments that start a tool. */
  command(tool: CTool): readonly [string, ...string[]];
  run(
    tool: CTool,
    args: readonly string[],
    options?: { cwd?: string; input?: string | Buffer },
  ): Result;
}

/** The tools, or in a line why they are not to be had here. */
export function cTools(): CTools | string {
  let root: string;
  try {
    root = unpacked();
  } catch (error) {
    const [reason] = (error as Error).message.split("\n");
    return `no C tools to compare with: ${reason}`;
  }
  const libraries = join(root, "usr/lib", onlyEntry(join(root, "usr/lib"), /-linux-gnu/));
  const loader = join(libraries, onlyEntry(libraries, /^ld-linux.*\.so/));
  const command = (tool: CTool): [string, ...string[]] => {
    const place = tool === "mount.composefs" ? "usr/sbin" : "usr/bin";
    return [loader, "--argv0", tool, "--library-path", libraries, join(root, place, tool)];
  };
  return {
    command,
    run(tool, args, options = {}) {
      const [program, ...first] = command(tool);
      const { status, stdout, stderr } = spawnSync(program, [...first, ...args], {
        ...options,
        encoding: "latin1",
        maxBuffer: 1 << 28,
      });
      return { status, stdout, stderr };
    },
  };
}

/** Downloads them once. */
function unpacked(): string {
  const place = join(CACHE, "c-tools");
  if (existsSync(place)) return place;
  mkdirSync(CACHE, { recursive: true });
  const partial = mkdtempSync(`${place}.partial-`);
  try {
    for (const name of PACKAGES) {
      const path = downloadPackage({ suite: SUITE, name, dir: join(CACHE, "packages") });
      execFileSync("dpkg-deb", ["--extract", path, partial], {
        stdio: ["ignore", "ignore", "pipe"],
      });
    }
    renameSync(partial, place);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return place;
}

function onlyEntry(directory: string, pattern: RegExp): string {
  const [name] = readdirSync(directory).filter((entry) => pattern.test(entry));
  if (name === undefined) throw new Error(`${directory}: nothing like ${pattern}`);
  return name;
}
