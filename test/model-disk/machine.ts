/** A machine whose disks are in memory: a root with a repository, what the boot loader reads, `/run`. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseComposefsArguments } from "../../src/formats/cmdline.ts";
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import { type Machine, understand } from "../../src/model/deployments.ts";
import type { EtcStrategy } from "../../src/model/etc/merge.ts";
import { type BootPlace, espPlace, grubPlace } from "../../userspace/bootloader/boot-place.ts";
import { finalize } from "../../userspace/deployment/finalize.ts";
import { DEPLOY, type Host, type Loader } from "../../userspace/deployment/host.ts";
import { leadingFirst } from "../../userspace/deployment/in-step.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import { bootImageOf, deploy, planStage, stage } from "../../userspace/deployment/stage.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { openSource } from "../../userspace/oci/open.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { parseReference } from "../../userspace/oci/reference.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { nodePlatform } from "../../userspace/repository/node-platform.ts";
import type { Platform } from "../../userspace/repository/platform.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { type OsImage, osLayer } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";
import { PLATFORM } from "../oci/fixtures/pulling.ts";
import { bootMenu } from "./boots.ts";
import { type Change, Disk, type FileSystemKind } from "./disk.ts";
import { ModelLinux } from "./linux.ts";

const REPOSITORY = "/sysroot/composefs";

interface LayoutPlace {
  /** The directory of the place. */
  readonly path: string;
  /** The file system that paths in entries begin in. */
  readonly root: string;
  readonly open: (directory: number, path: string) => BootPlace;
  /** Of a file system that is made for it. */
  readonly kind?: FileSystemKind;
}

export interface Layout {
  readonly loader: Loader;
  readonly places: readonly [LayoutPlace, ...LayoutPlace[]];
  /** Whether the repository requires fs-verity. */
  readonly verity?: boolean;
}

const esp = (path: string): LayoutPlace => ({ path, root: path, open: espPlace, kind: "fat" });
const journaled = (place: BootPlace): BootPlace => ({ ...place, journaled: true });

/** What machines have for their boot loader. */
export const LAYOUTS = {
  "an ESP": { loader: "systemd-boot", places: [esp("/esp")] },
  "ESPs on two disks": { loader: "systemd-boot", places: [esp("/esp"), esp("/esp2")] },
  "fs-verity": { loader: "systemd-boot", places: [esp("/esp")], verity: true },
  XBOOTLDR: {
    loader: "systemd-boot",
    places: [
      {
        ...esp("/xbootldr"),
        open: (directory, path) => journaled(espPlace(directory, path)),
        kind: "journaled",
      },
    ],
  },
  "GRUB with a /boot of its own": {
    loader: "grub",
    places: [
      {
        path: "/boot",
        root: "/boot",
        open: (directory, path) => journaled(grubPlace(directory, path, true)),
        kind: "journaled",
      },
    ],
  },
  "GRUB with /boot on the root": {
    loader: "grub",
    places: [
      {
        path: "/sysroot/boot",
        root: "/sysroot",
        open: (directory, path) => journaled(grubPlace(directory, path, false)),
      },
    ],
  },
} as const satisfies Record<string, Layout>;

export class ModelMachine {
  readonly layout: Layout;
  /** The place that the firmware has started it from. */
  readonly from: number;
  readonly linux: ModelLinux;
  readonly platform: Platform;
  readonly running: Host["running"];
  readonly #boot: number;

  constructor(layout: Layout, disk: Disk, running?: Host["running"], boot = 0, from = 0) {
    this.layout = layout;
    this.from = from;
    this.linux = new ModelLinux(disk);
    this.platform = { ...nodePlatform, linux: this.linux, pause() {} };
    this.running = running;
    this.#boot = boot;
  }

  /** Empty disks but for a repository, and GRUB's directory. */
  static create(layout: Layout = LAYOUTS["an ESP"]): ModelMachine {
    const disk = new Disk();
    disk.addFileSystem("sysroot", "journaled", layout.verity);
    for (const { path, kind } of layout.places) {
      if (kind !== undefined) disk.addFileSystem(path.slice(1), kind);
    }
    disk.addFileSystem("run", "memory");
    const machine = new ModelMachine(layout, disk);
    const { platform, linux } = machine;
    const insecure = layout.verity !== true;
    initRepository(REPOSITORY, { hash: "sha256", format: 1, insecure, platform });
    for (const { path, kind } of layout.places) {
      if (kind === undefined) linux.mkdirat(AT_FDCWD, path, 0o755);
      if (layout.loader === "grub") linux.mkdirat(AT_FDCWD, `${path}/grub`, 0o755);
    }
    return machine;
  }

  get disk(): Disk {
    return this.linux.disk;
  }

  /** Another machine with the same disks and the same boot. */
  copy(): ModelMachine {
    return new ModelMachine(this.layout, this.disk.copy(), this.running, this.#boot, this.from);
  }

  /** The machine after a start with these disks, from this place: the first of its menu runs, and what was in memory is gone. */
  booted(disk: Disk = this.disk, from = 0): ModelMachine {
    const left = disk.copy(({ kind }) => kind !== "memory");
    const start = (running?: Host["running"]) =>
      new ModelMachine(this.layout, left, running, this.#boot + 1, from);
    const [first] = bootMenu(start(), from);
    if (first === undefined) return start();
    const [argument] = parseComposefsArguments(first.entry.options ?? "");
    return start(argument && { id: argument.digest, insecure: argument.insecure });
  }

  /** All changes that `action` makes, in their order. */
  async record(action: (machine: ModelMachine) => unknown): Promise<Change[]> {
    const changes: Change[] = [];
    this.linux.onChange = (change) => changes.push(change);
    try {
      await action(this);
    } finally {
      this.linux.onChange = () => {};
    }
    return changes;
  }

  with<T>(action: (host: Host, repository: Repository, machine: Machine) => T): T {
    const { linux, running } = this;
    const { loader, places } = this.layout;
    const opened: number[] = [];
    const open = (path: string): number => {
      const fd = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
      opened.push(fd);
      return fd;
    };
    try {
      using repository = this.repository();
      const found: Host = {
        linux,
        sysroot: open("/sysroot"),
        sysrootPath: "/sysroot",
        places: places.map((place) => place.open(open(place.path), place.path)) as [BootPlace],
        loader,
        run: running === undefined ? undefined : open("/run"),
        running,
        bootId: `${this.#boot}`,
      };
      const host =
        running === undefined ? found : { ...found, places: leadingFirst(found, running.id) };
      return action(host, repository, understand(observe(host, repository).seen));
    } finally {
      for (const fd of opened) linux.close(fd);
    }
  }

  repository(): Repository {
    return openRepository(REPOSITORY, { platform: this.platform });
  }

  /** Pulls an image, and calls it by its version; returns the digest of its manifest. */
  async pull(os: OsImage): Promise<string> {
    const layout = mkdtempSync(join(tmpdir(), "cfsboot-layout-"));
    try {
      mkdirSync(join(layout, "blobs"), { recursive: true });
      const layers = [{ tar: osLayer(os), compression: "none" as const }];
      writeLayout(layout, [{ image: image(layers), tag: "os" }]);
      using repository = this.repository();
      const transport = await openSource(parseReference(`oci:${layout}:os`), {
        platform: PLATFORM,
        places: { env: {}, uid: 0, system: [] },
      });
      try {
        const request = { platform: PLATFORM, bootable: false, progress: {} };
        const { manifestDigest } = await pull(repository, transport, {
          ...request,
          name: os.version,
        });
        return manifestDigest;
      } finally {
        await transport.close();
      }
    } finally {
      rmSync(layout, { recursive: true });
    }
  }

  /** Stages an image that was pulled, or deploys it where nothing runs. Returns the id. */
  stage(manifest: string, locked = false): string {
    return this.with((host, repository, machine) => {
      const image = openImage(repository, `@${manifest}`);
      const boot = bootImageOf(repository, image);
      const plan = planStage(host, repository, machine, image, boot, {
        reference: { transport: "registry", name: "example.org/os:13", signature: undefined },
        keep: 2,
        locked,
        counted: host.running !== undefined,
        options: "root=UUID=1234 rw",
      });
      if (host.running === undefined) deploy(host, repository, plan);
      else stage(host, repository, plan);
      return plan.id;
    });
  }

  finalize(strategy: EtcStrategy = "fail"): void {
    this.with((host, repository) => {
      const path = `${DEPLOY}/${host.running?.id}/etc`;
      const etc = { dirfd: host.sysroot, path, name: "/etc" };
      finalize(host, repository, { etc, strategy });
    });
  }
}
