/** A machine that is watched while it updates itself, with all that it writes to its disk. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TarFile } from "../../test/oci/fixtures/images.ts";
import { menuParts } from "./boot-menu.ts";
import { cached, hashOf } from "./cache.ts";
import { type DiskPartition, partitionNamed } from "./disk-partitions.ts";
import { type Installation, machineDisk } from "./install.ts";
import { expectDone, type LivingMachine } from "./life.ts";
import { newMachine } from "./machine.ts";
import { boot } from "./qemu.ts";
import { logged, newWriteLog, type Part, readWriteLog, type WriteLog } from "./write-log.ts";

/** What the new release has, besides a kernel of its own. */
const FILES: readonly TarFile[] = [
  { path: "usr/share/release", data: "2\n" },
  { path: "usr/share/large", data: "of the new release\n".repeat(20_000) },
  { path: "etc/app.conf", data: "two\n" },
];
const MARK = "echo 'power: here' > /dev/console";

/** Watches a machine while it updates itself: `path` gets the log of what it writes, and where in it which phase is. */
async function watch(machine: LivingMachine, path: string): Promise<void> {
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
  expectDone(booted, "seal", "configure", "edit", "upgrade");
  const [begin, end] = marks as [number, number];
  const phases = { upgrade: [begin, end], shutdown: [end, logged(log)] };
  writeFileSync(join(path, "phases"), JSON.stringify(phases));
}

export type Phase = "upgrade" | "shutdown";

export interface Watched {
  /** Whose registry has the new release. */
  readonly machine: LivingMachine;
  /** As it was in the beginning. */
  readonly disk: string;
  readonly esp: DiskPartition;
  /** Where the names are that lead the boot loader to its menu. */
  readonly menu: readonly Part[];
  readonly log: WriteLog;
  /** Where in the log they begin and end. */
  readonly phases: Readonly<Record<Phase, readonly [number, number]>>;
}

/** Watches a machine that updates itself to release 2, now or earlier. */
export async function watchUpdate(installation: Installation): Promise<Watched> {
  const { loader } = installation;
  const { disk } = await machineDisk(installation);
  const machine = await newMachine(`power ${loader}`, installation);
  machine.publish("2", [...FILES, machine.initramfsWith({ "etc/release": "2\n" })]);
  const key = hashOf(disk, readFileSync(import.meta.filename));
  const path = await cached(`watched-${loader}`, key, (to) => watch(machine, to));
  const places = { esp: partitionNamed(disk, "EFI-SYSTEM"), menu: menuParts(disk, loader) };
  const phases = JSON.parse(readFileSync(join(path, "phases"), "utf8"));
  return { machine, disk, ...places, log: readWriteLog(join(path, "writes")), phases };
}
