/** A machine that is watched while it updates itself, with all that it writes to its disk. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { TarFile } from "../../test/oci/fixtures/images.ts";
import { cached, hashOf } from "./cache.ts";
import { type DiskPartition, partitionsOf } from "./disk-partitions.ts";
import { machineDisk } from "./install.ts";
import { newMachine } from "./machine.ts";
import { boot } from "./qemu.ts";
import { logged, newWriteLog, readWriteLog, type WriteLog } from "./write-log.ts";

/** What the new release has, besides a kernel of its own. */
const FILES: readonly TarFile[] = [
  { path: "usr/share/release", data: "2\n" },
  { path: "usr/share/large", data: "of the new release\n".repeat(20_000) },
  { path: "etc/app.conf", data: "two\n" },
];
const MARK = "echo 'power: here' > /dev/console";

export type Machine = Awaited<ReturnType<typeof newMachine>>;

/** Watches a machine while it updates itself: `path` gets the log of what it writes, and where in it which phase is. */
async function watch(machine: Machine, path: string): Promise<void> {
  mkdirSync(path);
  const log = join(path, "writes");
  newWriteLog(log);
  const marks: number[] = [];
  const booted = await boot({
    ...machine.hardware,
    writeLog: log,
    checks: {
      ...machine.beginning,
      edit: "echo mine > /etc/edited.conf; sync",
      begin: MARK,
      upgrade: "cfsboot upgrade",
      end: MARK,
    },
    target: "multi-user",
    powerOff: "clean",
    onConsole: (line) => {
      if (line.includes("power: here")) marks.push(logged(log));
    },
  });
  for (const name of ["seal", "configure", "upgrade"]) {
    const { status, output } = booted.answers[name]!;
    expect(status, `${name}: ${output}`).toBe(0);
  }
  const [begin, end] = marks as [number, number];
  const phases = { upgrade: [begin, end], shutdown: [end, logged(log)] };
  writeFileSync(join(path, "phases"), JSON.stringify(phases));
}

export type Phase = "upgrade" | "shutdown";

export interface Watched {
  /** Whose registry has the new release. */
  readonly machine: Machine;
  /** As it was in the beginning. */
  readonly disk: string;
  readonly esp: DiskPartition;
  readonly log: WriteLog;
  /** Where in the log they begin and end. */
  readonly phases: Readonly<Record<Phase, readonly [number, number]>>;
}

/** Watches a machine that updates itself to release 2, now or earlier. */
export async function watchUpdate(): Promise<Watched> {
  const { disk } = await machineDisk();
  const machine = await newMachine("power");
  machine.publish("2", [...FILES, machine.initramfsWith({ "etc/release": "2\n" })]);
  const key = hashOf(disk, readFileSync(import.meta.filename));
  const path = await cached("watched", key, (to) => watch(machine, to));
  const [esp] = partitionsOf(disk) as [DiskPartition];
  const phases = JSON.parse(readFileSync(join(path, "phases"), "utf8"));
  return { machine, disk, esp, log: readWriteLog(join(path, "writes")), phases };
}
