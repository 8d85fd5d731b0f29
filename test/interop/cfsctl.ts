/**
 * cfsctl, the command of composefs-rs, beside ours. It is found as `$CFSCTL` or on the PATH; `cargo install
 * composefs-ctl` makes it. What was recorded of it here is of release 0.9.4.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { TestContext } from "vitest";

export const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

const CANDIDATES = [
  process.env.CFSCTL,
  ...(process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, "cfsctl")),
];
export const CFSCTL = CANDIDATES.find((path) => {
  if (path === undefined || path === "") return false;
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
});

export function needsCfsctl(ctx: TestContext): void {
  if (CFSCTL === undefined) ctx.skip("cfsctl is neither on the PATH nor given as CFSCTL");
}

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(command: string, args: readonly string[], input: string | Buffer): Outcome {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "latin1",
    input,
    maxBuffer: 1 << 28,
    env: { ...process.env, RUST_BACKTRACE: "0" },
  });
  if (error !== undefined) throw error;
  return { status, stdout, stderr };
}

/** Runs either program on a repository, whatever comes of it. */
export const attempt = {
  cfsctl: (repository: string, ...args: string[]) =>
    run(CFSCTL!, ["--repo", repository, ...args], ""),
  cfsboot: (repository: string, ...args: string[]) =>
    run(process.execPath, [CFSBOOT, ...args, "--repo", repository], ""),
};

function succeed(program: keyof typeof attempt, repository: string, args: string[]): string {
  const { status, stdout, stderr } = attempt[program](repository, ...args);
  if (status === 0) return stdout;
  throw new Error(`${program} ${args.join(" ")}: exit status ${status}\n${stdout}${stderr}`);
}

/** Standard output of cfsctl, as bytes. */
export const cfsctl = (repository: string, ...args: string[]) =>
  succeed("cfsctl", repository, args);

/** Standard output of cfsboot, as bytes. */
export const cfsboot = (repository: string, ...args: string[]) =>
  succeed("cfsboot", repository, args);
