/**
 * Installs to a file without being root, without loop devices, and on kernels that have neither FAT nor fs-verity: the
 * file systems begin as directories, which the tools of e2fsprogs, dosfstools and mtools put into the file.
 *
 * Nothing there can have fs-verity. So the repository does without at first, and `SEAL_STAMP` tells the system that boots
 * to turn it on (see `seal.ts`).
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Linux } from "../../src/linux/linux.ts";
import { LUKS_RESERVE } from "../../src/model/encryption.ts";
import { ROOM_NAMES } from "../bootloader/directory-room.ts";
import { openExplicitHost } from "../deployment/explicit-host.ts";
import type { StagePlan } from "../deployment/stage.ts";
import { TemporaryDirectory } from "../oci/temporary.ts";
import { installContents, type Wanted } from "./contents.ts";
import type { DiskPlan, PlannedPartition } from "./disk-plan.ts";
import { formatExt4, formatFat } from "./file-systems.ts";
import { GROW_STAMP } from "./grow.ts";
import { encryptFile, type Unlocking } from "./luks.ts";
import { NotedXattrs } from "./noted-xattrs.ts";
import { makeTable } from "./partition-table.ts";
import { runProgram } from "./programs.ts";
import { requireFits, roomOnDisk } from "./room.ts";
import { SEAL_STAMP } from "./seal-stamp.ts";

const CHUNK = 4 << 20;

/**
 * Carries out a plan. The file gets its name when it is whole; one that was there is gone then. What an installation that was
 * killed has left beside it is removed.
 */
export async function installOffline(
  linux: Linux,
  plan: DiskPlan,
  wanted: Wanted,
  say: (step: string) => void,
  { passphrase }: Unlocking,
): Promise<StagePlan> {
  const path = resolve(plan.path);
  const temporary = new TemporaryDirectory({
    parent: dirname(path),
    prefix: ".cfsboot-install-",
    ignoreSignals: true,
  });
  const work = temporary.path;
  try {
    const places = directoriesOf(work, plan);
    const noted = new NotedXattrs(linux);
    const deployed = await fill(noted.linux, places, plan, wanted, say);
    await wanted.goOn();
    const file = join(work, "disk");
    say("write the file systems");
    writeDisk(file, plan, places, noted, passphrase);
    renameSync(file, path);
    return deployed;
  } finally {
    temporary.close();
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
  disk: DiskPlan,
  wanted: Wanted,
  say: (step: string) => void,
): Promise<StagePlan> {
  const {
    sealedLater,
    growsLater,
    insecure,
    bootLoader,
    root: { fileSystemId: rootUuid },
  } = disk;
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
    xbootldr: xbootldr !== undefined,
    grub: { uuid: rootUuid, separateBoot: false },
    ...roomOnDisk(disk, true),
    rootRoom: {
      name: `the file system of ${disk.path}`,
      hint: "the system is put together beside the file, on which it is then written",
    },
  };
  const plan = await installContents(target, wanted, say);
  if (sealedLater && !insecure) writeFileSync(join(root, SEAL_STAMP), "");
  if (growsLater) writeFileSync(join(root, GROW_STAMP), "");
  return plan;
}

function writeDisk(
  file: string,
  plan: DiskPlan,
  places: readonly Place[],
  noted: NotedXattrs,
  passphrase: Uint8Array | undefined,
): void {
  const { diskSize, sectorSize } = plan;
  writeFileSync(file, "", { mode: 0o600 });
  truncateSync(file, diskSize);
  makeTable(file, plan, true);
  for (const { partition, directory } of places) {
    if (partition.fileSystem === "vfat") {
      formatFat(file, partition, sectorSize);
      const names = readdirSync(directory).map((name) => join(directory, name));
      if (names.length === 0) continue;
      // of a path it would take what follows @@ for the offset
      const image = `${basename(file)}@@${partition.start}`;
      // without its checks, which know geometries that floppies had
      const how = { cwd: dirname(file), env: { MTOOLS_SKIP_CHECK: "1" } };
      const room = writeRoom(directory);
      runProgram("mcopy", ["-i", image, "-s", "-m", "-Q", ...names, "::/"], how);
      if (room.length > 0) runProgram("mdel", ["-i", image, ...room], how);
    } else {
      requireFits(directory, roomOnDisk(plan, true).rootRoom);
      writeRoot(file, plan, partition, passphrase, (to, { start, size }) => {
        formatExt4(to, { ...partition, start, size }, directory);
        noted.write(directory, to, start, `${file}.values`);
      });
    }
  }
  const fd = openSync(file, "r+");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Files for which directories of the menu and of kernels become large (see `makeRoom`). Returns their paths for mdel(1). */
function writeRoom(directory: string): string[] {
  return ["EFI/Linux", "EFI/Linux/bootc", "loader"]
    .filter((path) => existsSync(join(directory, path)))
    .flatMap((path) =>
      ROOM_NAMES.map((name) => {
        writeFileSync(join(directory, path, name), "");
        return `::/${path}/${name}`;
      }),
    );
}

/** Lets `write` make the root where it belongs, or encrypts what it has made in a file of its own. */
function writeRoot(
  file: string,
  { encryption }: DiskPlan,
  { start, size }: PlannedPartition,
  passphrase: Uint8Array | undefined,
  write: (file: string, place: { readonly start: number; readonly size: number }) => void,
): void {
  if (encryption === undefined) {
    write(file, { start, size });
    return;
  }
  if (passphrase === undefined) throw new Error("expected a passphrase");
  const piece = `${file}.root`;
  writeFileSync(piece, "", { mode: 0o600 });
  truncateSync(piece, size);
  write(piece, { start: 0, size: size - LUKS_RESERVE });
  encryptFile(piece, encryption, passphrase);
  copyInto(piece, file, start);
  rmSync(piece);
}

/** Writes what is in one file into another one. */
function copyInto(from: string, to: string, offset: number): void {
  const source = openSync(from, "r");
  const target = openSync(to, "r+");
  try {
    const buffer = Buffer.allocUnsafe(CHUNK);
    for (let at = offset; ; ) {
      const count = readSync(source, buffer);
      if (count === 0) return;
      for (let done = 0; done < count; ) {
        done += writeSync(target, buffer, done, count - done, at + done);
      }
      at += count;
    }
  } finally {
    closeSync(target);
    closeSync(source);
  }
}
