/**
 * Setting up the root of a deployment: the verified image, `/etc` and `/var` of the deployment, the physical root at
 * `/sysroot`. The layout on disk and the meaning of the configuration are bootc's composefs backend's; where
 * composefs-rs' composefs-setup-root can do more, so does this.
 */
import type { DirectoryMount, SetupRootConf } from "../formats/setup-root-conf.ts";
import { planRoot, type RootPlan, rootSource } from "../model/root-plan.ts";
import { findBootImage } from "./boot-image.ts";
import { type ErofsWay, mountComposefs } from "./composefs-mount.ts";
import {
  AT_FDCWD,
  MOUNT_ATTR_RDONLY,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  ST_RDONLY,
} from "./constants.ts";
import { cloneState } from "./deployment-state.ts";
import { createMount, isRefused } from "./fs-context.ts";
import { workAroundGptAuto } from "./gpt-auto.ts";
import { HintedError } from "./hint.ts";
import type { Fd, Linux } from "./linux.ts";
import { cloneMount, NewRoot, openDirectory } from "./new-root.ts";
import { TemporaryMounts } from "./temporary-mounts.ts";
import { writeVarUnit } from "./var-unit.ts";
import { mountWritable } from "./writable-overlay.ts";

export interface SetupRootOptions {
  /** Where the physical root is mounted. */
  readonly sysroot: string;
  readonly cmdline: string;
  readonly conf: SetupRootConf;
  /** This directory instead of an image: for tests. The first argument's digest still names the deployment. */
  readonly rootFs?: string | undefined;
  /** Mount the new root here and leave `sysroot` as it is, instead of replacing it. */
  readonly target?: string | undefined;
  /** Called with a line for each thing done. */
  readonly report: (line: string) => void;
}

/**
 * Does all of it, or throws and leaves the mounts as they were. Errors name the kernel argument, the digest and what was
 * found; some carry a hint (`HintedError`).
 */
export function setupRoot(linux: Linux, options: SetupRootOptions): void {
  if (options.target === undefined) {
    const done = workAroundGptAuto(linux);
    if (done !== undefined) options.report(done);
  }
  const plan = planRoot(options.cmdline, options.conf);
  const first = new Setup(linux, options, plan, options.conf.erofs);
  try {
    first.run();
    return;
  } catch (error) {
    if (options.conf.erofs !== "auto" || !first.stackedOnFile || !isRefusal(error)) throw error;
  }
  // Some kernels (6.18, and 6.12 with its fixes of the end of 2025) count an image that is mounted from its file as one
  // of the two levels that overlays may be stacked. Through a loop device it is none.
  options.report("no overlay on an image mounted from its file: once more, with a loop device");
  new Setup(linux, options, plan, "loop").run();
}

/** Whether the kernel refused an overlay as such. */
function isRefusal(error: unknown): boolean {
  for (let e = error; e instanceof Error; e = e.cause) if (isRefused(e, "EINVAL")) return true;
  return false;
}

/** The image's or directory's own mount, and its name. */
interface Base {
  readonly fd: Fd;
  readonly digest: string;
}

/** A directory of the new root on which something is mounted. */
interface Part {
  readonly name: "etc" | "var";
  readonly mode: Exclude<DirectoryMount, "none">;
  /** The deployment's directory, except where nothing is kept. */
  readonly state: Fd | undefined;
}

class Setup {
  /** Whether an overlay was put on an image that is mounted from its file. */
  stackedOnFile = false;
  readonly #linux: Linux;
  readonly #options: SetupRootOptions;
  readonly #plan: RootPlan;
  readonly #erofs: ErofsWay | "auto";
  readonly #temporary: TemporaryMounts;
  readonly #open: Fd[] = [];
  #fromFile = false;

  constructor(linux: Linux, options: SetupRootOptions, plan: RootPlan, erofs: ErofsWay | "auto") {
    this.#linux = linux;
    this.#options = options;
    this.#plan = plan;
    this.#erofs = erofs;
    this.#temporary = new TemporaryMounts(linux);
  }

  run(): void {
    try {
      this.#run();
    } finally {
      this.#temporary.release();
      for (const fd of this.#open.splice(0)) this.#linux.close(fd);
    }
  }

  #run(): void {
    const { sysroot: path, target, rootFs, report } = this.#options;
    const sysroot = this.#openPath(path);
    const base = rootFs === undefined ? this.#mountImage(sysroot) : this.#cloneDirectory(rootFs);
    const parts = this.#openParts(sysroot, base.digest);
    const mount = this.#plan.transient ? this.#makeTransient(base) : base.fd;
    const root = new NewRoot(this.#linux, mount, target ?? path);
    try {
      this.#placeSysroot(root, sysroot);
      for (const part of parts) this.#placePart(root, base, part);
      if (target === undefined) root.replace();
      else root.attach();
    } catch (error) {
      root.abandon();
      throw error;
    }
    const mode = this.#plan.transient ? "writable, changes are lost at reboot" : "read-only";
    report(`root: at ${target ?? path}, ${mode}`);
    if (target !== undefined || this.#plan.var !== "bind") return;
    const done = writeVarUnit(this.#linux, base.digest);
    if (done !== undefined) report(done);
  }

  #keep(fd: Fd): Fd {
    this.#open.push(fd);
    return fd;
  }

  #openPath(path: string): Fd {
    return this.#keep(this.#linux.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  }

  #mountImage(sysroot: Fd): Base {
    const { sysroot: path, conf, report } = this.#options;
    const image = findBootImage(this.#linux, sysroot, path, this.#plan.candidates);
    this.#keep(image.fd);
    this.#keep(image.objects);
    const { argument } = image;
    report(`image: ${argument.text}`);
    report(
      argument.insecure
        ? "fs-verity: not required (?), nothing is verified"
        : `fs-verity: required, measured ${argument.hash}:${argument.digest}`,
    );
    try {
      const mount = mountComposefs(this.#linux, {
        image: image.fd,
        name: argument.digest,
        dataDirs: [image.objects],
        verity: argument.insecure ? "none" : "require",
        readOnly: true,
        erofs: this.#erofs,
        layers: conf.layers,
      });
      this.#fromFile = mount.erofs === "file";
      const erofs = this.#fromFile ? "from its file" : "through a loop device";
      report(`mounted: EROFS ${erofs}, overlay layers as ${mount.layers}`);
      return { fd: this.#keep(mount.fd), digest: argument.digest };
    } catch (cause) {
      throw new Error(`mount image of ${argument.text}`, { cause });
    }
  }

  #cloneDirectory(path: string): Base {
    const clone = cloneMount(this.#linux, this.#openPath(path), { set: MOUNT_ATTR_RDONLY });
    this.#options.report(`root file system: the directory ${path}, nothing is verified`);
    return { fd: this.#keep(clone), digest: this.#plan.candidates[0].digest };
  }

  /** What is to be mounted on `/etc` and `/var`: opened while the physical root is still on top. */
  #openParts(sysroot: Fd, digest: string): Part[] {
    const parts: Part[] = [];
    for (const name of ["etc", "var"] as const) {
      const mode = this.#plan[name];
      if (mode === "none") {
        this.#options.report(`/${name}: as in the image`);
        continue;
      }
      let state: Fd | undefined;
      if (mode !== "transient") {
        const { sysroot: path } = this.#options;
        state = within(`/${name} (${mode})`, () =>
          this.#keep(cloneState(this.#linux, sysroot, path, digest, name)),
        );
      }
      parts.push({ name, mode, state });
    }
    return parts;
  }

  #makeTransient(base: Base): Fd {
    return within("transient root", () =>
      this.#makeWritable(base.fd, this.#makeTmpfs(), rootSource(base.digest, true), () =>
        this.#temporary.attach(base.fd),
      ),
    );
  }

  #makeTmpfs(): Fd {
    const settings = [["source", "composefs-transient"]] as const;
    return this.#keep(createMount(this.#linux, "tmpfs", settings, 0));
  }

  #makeWritable(lower: Fd, parent: Fd, source: string, attachLower: () => void): Fd {
    this.stackedOnFile ||= this.#fromFile;
    const attachLayers = () => {
      attachLower();
      this.#temporary.attach(parent);
    };
    const way = this.#options.conf.layers;
    return this.#keep(mountWritable(this.#linux, { source, lower, parent, way, attachLayers }));
  }

  #placeSysroot(root: NewRoot, sysroot: Fd): void {
    const directory = openDirectory(this.#linux, root.fd, "sysroot");
    if (directory === undefined) {
      this.#options.report("/sysroot: the image has no such directory, left out");
      return;
    }
    this.#keep(directory);
    const clone = cloneMount(this.#linux, sysroot, { set: MOUNT_ATTR_RDONLY });
    root.place(this.#keep(clone), directory);
    this.#options.report("/sysroot: the physical root, read-only");
  }

  #placePart(root: NewRoot, base: Base, part: Part): void {
    const { name, mode } = part;
    const directory = openDirectory(this.#linux, root.fd, name);
    if (directory === undefined) throw new Error(`the image has no directory /${name}`);
    this.#keep(directory);
    within(`/${name} (${mode})`, () => {
      const { fd, what } = this.#makePart(root, base, part);
      root.place(fd, directory);
      this.#options.report(`/${name}: ${what}`);
    });
  }

  #makePart(root: NewRoot, base: Base, { name, mode, state }: Part): { fd: Fd; what: string } {
    // On a transient root too the image's own directory is the lower one: overlays stack two high, no more.
    const overlay = (parent: Fd, source: string): Fd => {
      const lower = this.#keep(openDirectory(this.#linux, base.fd, name)!);
      return this.#makeWritable(lower, parent, source, () => {
        if (base.fd === root.fd) root.attach();
        else this.#temporary.attach(base.fd);
      });
    };
    if (state === undefined) {
      const what = "transient, changes are lost at reboot";
      return { fd: overlay(this.#makeTmpfs(), "transient"), what };
    }
    const readOnly = (this.#linux.fstatfs(state).flags & ST_RDONLY) !== 0;
    if (mode === "overlay") {
      if (readOnly) {
        throw new HintedError(
          "an overlay needs a writable physical root, which is mounted read-only",
          "put rw on the kernel command line",
        );
      }
      const what = "overlay, changes are kept in the deployment's state";
      return { fd: overlay(state, "overlay"), what };
    }
    // Not an error: a disk may be read-only for good. But usually it is a forgotten kernel argument.
    const note = readOnly ? ", read-only as the physical root is (rw makes both writable)" : "";
    return { fd: state, what: `bind of the deployment's state${note}` };
  }
}

/** What `act` returns; its errors with `context`. */
function within<T>(context: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw new Error(context, { cause });
  }
}
