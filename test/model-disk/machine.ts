/** A machine whose disks are in memory: a root with a repository, an ESP, `/run`. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import { type Machine, understand } from "../../src/model/deployments.ts";
import { espPlace } from "../../userspace/bootloader/boot-place.ts";
import { finalize } from "../../userspace/deployment/finalize.ts";
import { DEPLOY, type Host } from "../../userspace/deployment/host.ts";
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
import { type Change, Disk } from "./disk.ts";
import { ModelLinux } from "./linux.ts";

const REPOSITORY = "/sysroot/composefs";

export class ModelMachine {
  readonly linux: ModelLinux;
  readonly platform: Platform;
  readonly running: Host["running"];
  readonly #boot: number;

  constructor(disk: Disk, running?: Host["running"], boot = 0) {
    this.linux = new ModelLinux(disk);
    this.platform = { ...nodePlatform, linux: this.linux, pause() {} };
    this.running = running;
    this.#boot = boot;
  }

  /** Empty disks but for a repository. */
  static create(): ModelMachine {
    const disk = new Disk();
    disk.addFileSystem("sysroot", "journaled");
    disk.addFileSystem("esp", "fat");
    disk.addFileSystem("run", "memory");
    const machine = new ModelMachine(disk);
    const { platform } = machine;
    initRepository(REPOSITORY, { hash: "sha256", format: 1, insecure: true, platform });
    return machine;
  }

  get disk(): Disk {
    return this.linux.disk;
  }

  /** Another machine with the same disks and the same boot. */
  copy(): ModelMachine {
    return new ModelMachine(this.disk.copy(), this.running, this.#boot);
  }

  /** The machine after a start with these disks: the first of the menu runs, and what was in memory is gone. */
  booted(disk: Disk = this.disk): ModelMachine {
    const left = disk.copy(({ kind }) => kind !== "memory");
    const first = new ModelMachine(left).with(
      (_host, _repository, { deployments }) => deployments[0],
    );
    if (first === undefined) return new ModelMachine(left, undefined, this.#boot + 1);
    const running = { id: first.id, insecure: first.entry.insecure };
    return new ModelMachine(left, running, this.#boot + 1);
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
    const { linux } = this;
    const open = (path: string) => linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    const [sysroot, esp, run] = ["/sysroot", "/esp", "/run"].map(open) as [number, number, number];
    try {
      using repository = this.repository();
      const host: Host = {
        linux,
        sysroot,
        sysrootPath: "/sysroot",
        places: [espPlace(esp, "/esp")],
        loader: "systemd-boot",
        run: this.running === undefined ? undefined : run,
        running: this.running,
        bootId: `${this.#boot}`,
      };
      return action(host, repository, understand(observe(host, repository).seen));
    } finally {
      for (const fd of [sysroot, esp, run]) linux.close(fd);
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
  stage(manifest: string): string {
    return this.with((host, repository, machine) => {
      const image = openImage(repository, `@${manifest}`);
      const boot = bootImageOf(repository, image);
      const plan = planStage(host, repository, machine, image, boot, {
        reference: { transport: "registry", name: "example.org/os:13", signature: undefined },
        keep: 2,
        locked: false,
        counted: host.running !== undefined,
        options: "root=UUID=1234 rw",
      });
      if (host.running === undefined) deploy(host, repository, plan);
      else stage(host, repository, plan);
      return plan.id;
    });
  }

  finalize(): void {
    this.with((host, repository) => {
      const path = `${DEPLOY}/${host.running?.id}/etc`;
      const etc = { dirfd: host.sysroot, path, name: "/etc" };
      finalize(host, repository, { etc, strategy: "fail" });
    });
  }
}
