/** Runs `cfsboot` as it is shipped on a machine in temporary directories. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "vitest";
import type { TestMachine } from "../deployment/machine.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The options that name the machine. */
export function optionsOf({ path, running, loader }: TestMachine): string[] {
  const places = ["--sysroot", join(path, "sysroot"), "--boot", join(path, "esp")];
  const options = [...places, "--loader", loader];
  if (running === undefined) return options;
  const run = ["--run", join(path, "run"), "--etc", join(path, "root/etc")];
  // the repository has no fs-verity
  return [...options, ...run, "--running", `?${running}`];
}

/** Runs the program. */
export function spawn(...args: string[]): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CFSBOOT, ...args], {
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

/** Runs a command on the machine. */
export function run(machine: TestMachine, ...args: string[]): Outcome {
  return spawn(...args, ...optionsOf(machine));
}

/** Runs a command that must succeed without a warning; returns what it prints. */
export function succeed(machine: TestMachine, ...args: string[]): string {
  const { status, stdout, stderr } = run(machine, ...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

/** Runs a command that must fail; returns what it says. */
export function fail(machine: TestMachine, ...args: string[]): string {
  const { status, stderr } = run(machine, ...args);
  expect({ status, stderr }).toMatchObject({ status: 1 });
  return stderr;
}
