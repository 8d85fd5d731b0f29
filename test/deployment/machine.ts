/** A machine in temporary directories: physical root with a repository, an ESP, /run, and /etc of what runs. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_RDONLY } from "../../src/linux/constants.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { type Machine, understand } from "../../src/model/deployments.ts";
import { espPlace, grubPlace } from "../../userspace/bootloader/boot-place.ts";
import { finalize } from "../../userspace/deployment/finalize.ts";
import type { Host, Loader } from "../../userspace/deployment/host.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import {
  bootImageOf,
  deploy,
  planStage,
  type StageRequest,
  stage,
} from "../../userspace/deployment/stage.ts";
import { linux } from "../../userspace/linux.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { openRepository, type Repository } from "../../userspace/repository/repository.ts";
import { type CpioFile, cpio, initramfsFiles } from "../formats/cpio-archive.ts";
import { image, type TarFile, tar, writeLayout } from "../oci/fixtures/images.ts";
import { makeRepository, pullInto } from "../oci/fixtures/pulling.ts";

/** What differs between the images of a test. */
export interface OsImage {
  readonly version: string;
  readonly kernel?: string;
  readonly kargs?: readonly string[];
  /** Files below `/etc`, and their content. */
  readonly etc?: Readonly<Record<string, string>>;
  readonly files?: readonly TarFile[];
  /** Files of the initramfs; absent: those that it takes. */
  readonly initramfs?: readonly CpioFile[];
  /** Without a kernel beside the unified one. */
  readonly unifiedOnly?: boolean;
  /** What a second layer brings: files that the filesystem that boots has not, below `/boot`. */
  readonly boot?: readonly TarFile[];
}

/** The layer of a small image that could boot. */
export function osLayer(os: OsImage) {
  const { version, kernel = "6.12", kargs = [], etc = {}, files = [] } = os;
  const initramfs = os.initramfs ?? initramfsFiles("6.12");
  const text = (path: string, data: string): TarFile => ({ path, data });
  return tar([
    ...["boot/", "etc/", "proc/", "sysroot/", "usr/", "usr/lib/", "usr/lib/modules/"].map(
      (path) => ({ path }),
    ),
    { path: "var", type: "2", link: "sysroot/state/os/default/var" },
    text(
      "usr/lib/os-release",
      `ID=debian\nPRETTY_NAME="Debian ${version}"\nVERSION_ID=${version}\n`,
    ),
    { path: "usr/lib/modules/6.12/" },
    ...(os.unifiedOnly === true
      ? []
      : [
          text("usr/lib/modules/6.12/vmlinuz", `kernel ${kernel}`),
          text(
            "usr/lib/modules/6.12/initramfs.img",
            cpio([...initramfs, { name: "kernel", data: kernel }]).toString(),
          ),
        ]),
    { path: "usr/lib/bootc/" },
    { path: "usr/lib/bootc/kargs.d/" },
    text("usr/lib/bootc/kargs.d/10.toml", `kargs = ${JSON.stringify(kargs)}\n`),
    text("etc/hostname", "image\n"),
    ...Object.entries(etc).map(([path, data]) => text(`etc/${path}`, data)),
    ...files,
  ]);
}

export class TestMachine implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "cfsboot-machine-"));
  /** Goes between the program and the kernel, if set. */
  linux: Linux = linux;
  readonly loader: Loader;
  #boots = 0;
  #running: { id: string; insecure: boolean } | undefined;

  /** With GRUB, what else is the ESP is a /boot of its own. */
  constructor(loader: Loader = "systemd-boot") {
    this.loader = loader;
    for (const name of ["sysroot", "esp", "run", "root/etc"]) {
      mkdirSync(join(this.path, name), { recursive: true });
    }
    makeRepository(this.repositoryPath);
  }

  get repositoryPath(): string {
    return join(this.path, "sysroot/composefs");
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }

  /** What runs: the id, or nothing. */
  get running(): string | undefined {
    return this.#running?.id;
  }

  /** Runs `action` with the machine as the program sees it. */
  with<T>(action: (host: Host, repository: Repository, machine: Machine) => T): T {
    using open = this.open();
    const { host, repository } = open;
    return action(host, repository, understand(observe(host, repository).seen));
  }

  /** The machine as the program sees it. */
  open(): Disposable & { readonly host: Host; readonly repository: Repository } {
    const fds = ["sysroot", "esp", "run"].map((name) =>
      linux.openat(AT_FDCWD, join(this.path, name), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
    );
    const [sysroot, esp, run] = fds as [number, number, number];
    const close = () => {
      for (const fd of fds) linux.close(fd);
    };
    try {
      const repository = openRepository(this.repositoryPath);
      const host: Host = {
        linux: this.linux,
        sysroot,
        sysrootPath: join(this.path, "sysroot"),
        places: [
          this.loader === "grub"
            ? grubPlace(esp, join(this.path, "esp"), true)
            : espPlace(esp, join(this.path, "esp")),
        ],
        loader: this.loader,
        run: this.#running === undefined ? undefined : run,
        running: this.#running,
        bootId: `${this.#boots}`,
      };
      const dispose = () => {
        repository[Symbol.dispose]();
        close();
      };
      return { host, repository, [Symbol.dispose]: dispose };
    } catch (error) {
      close();
      throw error;
    }
  }

  /** Pulls an image of these layers; returns the digest of its manifest. */
  async pull(os: OsImage): Promise<string> {
    const layout = join(this.path, "layout");
    rmSync(layout, { recursive: true, force: true });
    mkdirSync(layout);
    const tars = [osLayer(os), ...(os.boot === undefined ? [] : [tar(os.boot)])];
    const layers = tars.map((bytes) => ({ tar: bytes, compression: "none" }) as const);
    writeLayout(layout, [{ image: image(layers), tag: "os" }]);
    return (await pullInto(this.repositoryPath, `oci:${layout}:os`)).manifestDigest;
  }

  /** Pulls an image and stages it, or deploys it where nothing runs. Returns its id. */
  async stage(os: OsImage, request: Partial<StageRequest> = {}): Promise<string> {
    const manifest = await this.pull(os);
    return this.with((host, repository, machine) => {
      const image = openImage(repository, `@${manifest}`);
      const boot = bootImageOf(repository, image);
      const plan = planStage(host, repository, machine, image, boot, {
        reference: { transport: "registry", name: "example.org/os:13", signature: undefined },
        keep: 2,
        locked: false,
        counted: true,
        options: "root=UUID=1234 rw",
        ...request,
      });
      if (host.running === undefined) deploy(host, repository, plan);
      else stage(host, repository, plan);
      return plan.id;
    });
  }

  /** Does what a shutdown does with what is staged. */
  shutDown() {
    const etc = { dirfd: AT_FDCWD, path: this.etc(), name: "/etc" };
    return this.with((host, repository) => finalize(host, repository, { etc, strategy: "fail" }));
  }

  /** Starts anew: what the menu has first runs, with its own /etc, and /run is empty. */
  boot(): string {
    rmSync(join(this.path, "run"), { recursive: true });
    mkdirSync(join(this.path, "run"));
    rmSync(join(this.path, "root"), { recursive: true });
    mkdirSync(join(this.path, "root"));
    this.#running = undefined;
    this.#boots++;
    const first = this.with((_host, _repository, { deployments }) => deployments[0]);
    if (first === undefined) throw new Error("nothing can be booted");
    this.#running = { id: first.id, insecure: first.entry.insecure };
    cpSync(this.state(first.id, "etc"), join(this.path, "root/etc"), {
      recursive: true,
      preserveTimestamps: true,
      verbatimSymlinks: true,
    });
    return first.id;
  }

  /** A path in a deployment's state directory. */
  state(id: string, path = "."): string {
    return join(this.path, "sysroot/state/deploy", id, path);
  }

  /** A path in /etc of what runs. */
  etc(path = "."): string {
    return join(this.path, "root/etc", path);
  }

  /** Names in a directory, sorted. */
  names(path: string): string[] {
    return readdirSync(join(this.path, path)).sort();
  }

  read(path: string): string {
    return readFileSync(join(this.path, path), "utf8");
  }
}
