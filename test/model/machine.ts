/** A machine without a disk: boot menus are files in a map, and are read as boot loaders and cfsboot read them. */
import { newBlsEntry, parseBlsEntry } from "../../src/formats/bls-entry.ts";
import { splitBootCount, type Tries } from "../../src/formats/boot-count.ts";
import { newOrigin } from "../../src/formats/origin.ts";
import { compareGrub, compareSystemdBoot } from "../../src/model/boot-menu-order.ts";
import { type Machine, type Observation, understand } from "../../src/model/deployments.ts";
import { type MenuEntry, ownEntry } from "../../src/model/menu-entry.ts";
import { type MenuFile, menuFiles } from "../../src/model/menu-files.ts";
import type { MenuPlan } from "../../src/model/menu-plan.ts";

/** The id of a deployment that is called by a number. */
export function idOf(number: number): string {
  return number.toString(16).padStart(2, "0").repeat(64);
}

export interface Os {
  readonly osId: string;
  readonly version: string;
}

/** A new entry for a deployment. */
export function entryFor(id: string, { version }: Os, artifact = id) {
  const path = `/EFI/Linux/bootc_composefs-${artifact}`;
  return newBlsEntry({
    title: `System ${id.slice(0, 4)}`,
    version,
    kernel: { key: "linux", path: `${path}/vmlinuz` },
    initrds: [`${path}/initrd`],
    options: `rw composefs=${id}`,
  });
}

/** Entries as a boot loader sorts their files. */
export function menuOf(files: readonly MenuFile[], loader: "systemd-boot" | "grub"): MenuEntry[] {
  const compare = loader === "grub" ? compareGrub : compareSystemdBoot;
  return files
    .map(({ name, bytes }) => {
      const bls = parseBlsEntry(bytes);
      const entry = ownEntry(name, bls, splitBootCount(name).tries, () => true);
      if (entry === undefined) throw new Error(`${name} is not one of ours`);
      return { entry, position: { ...bls, fileName: name } };
    })
    .sort((a, b) => compare(a.position, b.position))
    .map(({ entry }) => entry);
}

/** The files of a plan; `os` is the first entry's. */
export function filesOf(plan: MenuPlan, os: Os, tries?: Tries): MenuFile[] {
  const fresh = plan.menu.find(({ entry }) => entry === undefined);
  return menuFiles(
    plan.menu,
    os,
    fresh === undefined ? undefined : { bls: entryFor(fresh.id, os), tries },
  );
}

/** What is seen of a machine on which all is well. */
export function observe(
  menu: readonly MenuEntry[],
  running: string | undefined,
  more: Partial<Observation> = {},
): Observation {
  const all = [...menu, ...(more.stagedMenu ?? [])];
  return {
    running: running === undefined ? undefined : { id: running, insecure: false },
    menu,
    stagedMenu: undefined,
    record: undefined,
    states: [...new Set(all.map(({ id }) => id))].map((id) => ({
      id,
      origin: newOrigin({
        image: { transport: "registry", name: "example.org/os", signature: undefined },
        bootType: "bls",
        bootDigest: "00".repeat(32),
        manifestDigest: `sha256:${"00".repeat(32)}`,
      }),
      problems: [],
    })),
    artifacts: new Map(all.map(({ directory }) => [directory, true])),
    images: new Set(all.map(({ id }) => id)),
    ...more,
  };
}

export function machineOf(...args: Parameters<typeof observe>): Machine {
  return understand(observe(...args));
}
