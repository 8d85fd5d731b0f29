/**
 * Installs to a file without being root, without loop devices, and on kernels that have neither FAT nor fs-verity: the
 * file systems begin as directories, which the tools of e2fsprogs, dosfstools and mtools put into the file.
 *
 * Nothing there can have fs-verity. So the repository does without at first, and `SEAL_STAMP` tells the system that boots
 * to turn it on (see `seal.ts`).
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Linux } from "../../src/linux/linux.ts";
import { sfdiskScript } from "../../src/model/disk-layout.ts";
import { openExplicitHost } from "../deployment/explicit-host.ts";
import type { StagePlan } from "../deployment/stage.ts";
import { installContents, type Wanted } from "./contents.ts";
import type { DiskPlan, PlannedPartition } from "./disk-plan.ts";
import { formatExt4, formatFat } from "./file-systems.ts";
import { runProgram } from "./programs.ts";
import { SEAL_STAMP } from "./seal-stamp.ts";

/**
 * Carries out a plan. The file gets its name when it is whole; one that was there is gone then.
 */
export async function installOffline(
  linux: Linux,
  plan: DiskPlan,
  wanted: Wanted,
  say: (step: string) => void,
): Promise<StagePlan> {
  const path = resolve(plan.path);
  const work = mkdtempSync(join(dirname(path), ".cfsboot-install-"));
  try {
    const places = directoriesOf(work, plan);
    const deployed = await fill(linux, places, plan, wanted, say);
    const file = join(work, "disk");
    say("write the file systems");
    writeDisk(file, plan, places);
    renameSync(file, path);
    return deployed;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

interface Place {
  readonly partition: PlannedPartition;
  readonly directory: string;
}

function directoriesOf(work: string, { partitions }: DiskPlan): Place[] {
  return partitions
    .filter(({ fileSystem }) => fileSystem !== undefined)
    .map((partition) => {
      const directory = join(work, partition.role);
      mkdirSync(directory, 0o755);
      return { partition, directory };
    });
}

async function fill(
  linux: Linux,
  places: readonly Place[],
  { sealedLater, insecure, bootLoader, root: { fileSystemId: rootUuid } }: DiskPlan,
  wanted: Wanted,
  say: (step: string) => void,
): Promise<StagePlan> {
  const [root, esp, xbootldr] = (["root", "esp", "xbootldr"] as const).map(
    (role) => places.find(({ partition }) => partition.role === role)?.directory,
  );
  if (root === undefined || esp === undefined)
    throw new Error("expected a root partition and an ESP");
  mkdirSync(join(root, "boot"));
  const boot = bootLoader === "grub" ? [] : [xbootldr ?? esp];
  const loader = bootLoader === "grub" ? "grub" : "systemd-boot";
  using host = openExplicitHost(linux, {
    sysroot: root,
    boot,
    run: undefined,
    loader,
    running: undefined,
  });
  using loaderHost = openExplicitHost(linux, {
    sysroot: esp,
    boot: [esp],
    run: undefined,
    loader: "systemd-boot",
    running: undefined,
  });
  const target = {
    host,
    repositoryPath: join(root, "composefs"),
    insecure: true,
    esp: loaderHost.sysroot,
    grub: { uuid: rootUuid, separateBoot: false },
  };
  const plan = await installContents(target, wanted, say);
  if (sealedLater && !insecure) writeFileSync(join(root, SEAL_STAMP), "");
  return plan;
}

function writeDisk(file: string, plan: DiskPlan, places: readonly Place[]): void {
  const { diskSize, sectorSize, partitions } = plan;
  writeFileSync(file, "", { mode: 0o600 });
  truncateSync(file, diskSize);
  const uuids = partitions.map(({ partitionUuid }) => partitionUuid);
  const script = sfdiskScript(partitions, uuids, sectorSize);
  runProgram("sfdisk", ["--quiet", "--no-reread", "--no-tell-kernel", file], { input: script });
  for (const { partition, directory } of places) {
    if (partition.fileSystem === "vfat") {
      formatFat(file, partition, sectorSize);
      const names = readdirSync(directory).map((name) => join(directory, name));
      if (names.length === 0) continue;
      const image = `${file}@@${partition.start}`;
      // without its checks, which know geometries that floppies had
      const env = { MTOOLS_SKIP_CHECK: "1" };
      runProgram("mcopy", ["-i", image, "-s", "-m", "-Q", ...names, "::/"], { env });
    } else {
      formatExt4(file, partition, directory);
    }
  }
  const fd = openSync(file, "r+");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
