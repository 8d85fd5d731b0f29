/** Installs into file systems that somebody has made and mounted. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { openDirectory } from "../../src/linux/directories.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { openExplicitHost } from "../deployment/explicit-host.ts";
import type { StagePlan } from "../deployment/stage.ts";
import { installContents, type Wanted } from "./contents.ts";
import { finishFileSystem } from "./finish.ts";
import type { MountedPlan } from "./mounted-plan.ts";

/** Carries out a plan. `finish`: the file systems are trimmed, and frozen for a moment, at the end. */
export async function installMounted(
  linux: Linux,
  { root, esp, espDevice, boot, bootLoader, insecure, grub, separateVar }: MountedPlan,
  wanted: Wanted,
  finish: boolean,
  say: (step: string) => void,
): Promise<StagePlan> {
  const nothing = { run: undefined, running: undefined };
  const loader = bootLoader === "grub" ? "grub" : "systemd-boot";
  if (boot === undefined) makeBoot(linux, root);
  const places = boot === undefined ? [] : [boot];
  const { separateBoot } = grub;
  using host = openExplicitHost(linux, {
    ...{ sysroot: root, boot: places, loader, separateBoot },
    ...nothing,
  });
  using system =
    esp === undefined
      ? undefined
      : openExplicitHost(linux, { sysroot: esp, boot: [esp], loader: "systemd-boot", ...nothing });
  const repositoryPath = join(root, "composefs");
  const rooms = {
    rootRoom: { name: root, hint: "what is there may go, or the file system must be larger" },
    bootRoom: {
      name: host.places[0].path,
      hint:
        boot === undefined
          ? "another file system, mounted there, gives more"
          : "--esp may name another, larger one",
    },
  };
  using mountedVar = separateVar === undefined ? undefined : openPath(linux, separateVar);
  const target = {
    ...{ host, repositoryPath, insecure, esp: system?.sysroot, espDevice, grub, ...rooms },
    ...(mountedVar && { mountedVar: mountedVar.fd }),
  };
  const deployed = await installContents(target, wanted, say);
  if (finish) {
    for (const fd of [system?.sysroot, mountedVar?.fd, host.sysroot]) {
      if (fd !== undefined) finishFileSystem(linux, fd);
    }
  }
  return deployed;
}

function openPath(linux: Linux, path: string): Disposable & { readonly fd: Fd } {
  const fd = openDirectory(linux, AT_FDCWD, path);
  return { fd, [Symbol.dispose]: () => linux.close(fd) };
}

function makeBoot(linux: Linux, root: string): void {
  if (statSync(join(root, "boot"), { throwIfNoEntry: false }) !== undefined) return;
  linux.mkdirat(AT_FDCWD, join(root, "boot"), 0o755);
}
