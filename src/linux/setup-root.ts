/**
 * Setting up the root of a deployment: the verified image, `/etc` and `/var` of the deployment, the physical root at
 * `/sysroot`. The layout on disk and the meaning of the configuration are bootc's composefs backend's; where
 * composefs-rs' composefs-setup-root can do more, so does this.
 */
import { display } from "../formats/bytestring.ts";
import type { DirectoryMount, SetupRootConf } from "../formats/setup-root-conf.ts";
import { planRoot, type RootPlan, rootSource, statePath } from "../model/root-plan.ts";
import { findBootImage } from "./boot-image.ts";
import { mountComposefs } from "./composefs-mount.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  MOUNT_ATTR_RDONLY,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  ST_RDONLY,
} from "./constants.ts";
import { createMount } from "./fs-context.ts";
import { workAroundGptAuto } from "./gpt-auto.ts";
import { HintedError } from "./hint.ts";
import { type Fd, isErrno, type Linux } from "./linux.ts";
import { cloneMount, NewRoot } from "./new-root.ts";
import { mountOverlay } from "./overlay.ts";
import { TemporaryMounts } from "./temporary-mounts.ts";

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
  const setup = new Setup(linux, options, plan);
  try {
    setup.run();
  } finally {
    setup.close();
  }
}

class Setup {
  readonly #linux: Linux;
  readonly #options: SetupRootOptions;
  readonly #plan: RootPlan;
  readonly #temporary: TemporaryMounts;
  readonly #open: Fd[] = [];

  constructor(linux: Linux, options: SetupRootOptions, plan: RootPlan) {
    this.#linux = linux;
    this.#options = options;
    this.#plan = plan;
    this.#temporary = new TemporaryMounts(linux);
  }

  close(): void {
    this.#temporary.release();
    for (const fd of this.#open.splice(0)) this.#linux.close(fd);
  }

  run(): void {
    const { sysroot: path, target } = this.#options;
    const sysroot = this.#keep(
      this.#linux.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC),
    );
    const { fd, digest } =
      this.#options.rootFs === undefined
        ? this.#mountImage(sysroot)
        : this.#cloneDirectory(this.#options.rootFs);
    const mount = this.#plan.transient ? this.#makeTransient(fd, digest) : fd;
    const root = new NewRoot(this.#linux, mount, target ?? path);
    try {
      this.#placeSysroot(root, sysroot);
      this.#placeDirectory(root, sysroot, digest, "etc", this.#plan.etc);
      this.#placeDirectory(root, sysroot, digest, "var", this.#plan.var);
      if (target === undefined) root.replace();
      else root.attach();
    } catch (error) {
      root.abandon();
      throw error;
    }
    const mode = this.#plan.transient ? "writable, changes are lost at reboot" : "read-only";
    this.#options.report(`root: at ${target ?? path}, ${mode}`);
  }

  #keep(fd: Fd): Fd {
    this.#open.push(fd);
    return fd;
  }

  #mountImage(sysroot: Fd): { fd: Fd; digest: string } {
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
        erofs: conf.erofs,
        layers: conf.layers,
      });
      const erofs = mount.erofs === "file" ? "from its file" : "through a loop device";
      report(`mounted: EROFS ${erofs}, overlay layers as ${mount.layers}`);
      return { fd: this.#keep(mount.fd), digest: argument.digest };
    } catch (cause) {
      throw new Error(`mount image of ${argument.text}`, { cause });
    }
  }

  #cloneDirectory(path: string): { fd: Fd; digest: string } {
    const flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    const directory = this.#keep(this.#linux.openat(AT_FDCWD, path, flags));
    this.#options.report(`root file system: the directory ${path}, nothing is verified`);
    const clone = cloneMount(this.#linux, directory, { set: MOUNT_ATTR_RDONLY });
    return { fd: this.#keep(clone), digest: this.#plan.candidates[0].digest };
  }

  /** A writable overlay on `base` whose changes are in memory. */
  #makeTransient(base: Fd, digest: string): Fd {
    return this.#overlayInMemory(base, rootSource(digest, true), () =>
      this.#temporary.attach(base),
    );
  }

  #overlayInMemory(lower: Fd, source: string, attachLower: () => void): Fd {
    const tmpfs = this.#keep(
      createMount(this.#linux, "tmpfs", [["source", "composefs-transient"]], 0),
    );
    return this.#overlay(lower, tmpfs, source, attachLower);
  }

  /** A writable overlay on `lower` whose changes are in the directory `upper` of `parent`, a detached mount. */
  #overlay(lower: Fd, parent: Fd, source: string, attachLower: () => void): Fd {
    const dir = this.#makeUpper(parent, lower);
    const work = this.#makeDirectory(parent, "work", 0o700).fd;
    const overlay = mountOverlay(this.#linux, {
      source,
      lower,
      upper: { dir, work },
      readOnly: false,
      way: this.#options.conf.layers,
      attachLayers: () => {
        attachLower();
        this.#temporary.attach(parent);
      },
    });
    return this.#keep(overlay.fd);
  }

  /** The merged directory has the upper one's owner and mode: a new one gets those of the image's. */
  #makeUpper(parent: Fd, lower: Fd): Fd {
    const upper = this.#makeDirectory(parent, "upper", 0o755);
    if (upper.made) {
      const { mode, uid, gid } = this.#linux.statx(lower, "", AT_EMPTY_PATH);
      this.#linux.fchownat(parent, "upper", uid, gid, AT_SYMLINK_NOFOLLOW);
      this.#linux.fchmod(upper.fd, mode & 0o7777);
    }
    return upper.fd;
  }

  #makeDirectory(parent: Fd, name: string, mode: number): { fd: Fd; made: boolean } {
    let made = true;
    try {
      this.#linux.mkdirat(parent, name, mode);
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
      made = false;
    }
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    return { fd: this.#keep(this.#linux.openat(parent, name, flags)), made };
  }

  #placeSysroot(root: NewRoot, sysroot: Fd): void {
    const directory = root.open("sysroot");
    if (directory === undefined) {
      this.#options.report("/sysroot: the image has no such directory, left out");
      return;
    }
    this.#keep(directory);
    const clone = cloneMount(this.#linux, sysroot, { set: MOUNT_ATTR_RDONLY });
    root.place(this.#keep(clone), directory);
    this.#options.report("/sysroot: the physical root, read-only");
  }

  #placeDirectory(
    root: NewRoot,
    sysroot: Fd,
    digest: string,
    name: "etc" | "var",
    mode: DirectoryMount,
  ): void {
    if (mode === "none") {
      this.#options.report(`/${name}: as in the image`);
      return;
    }
    const directory = root.open(name);
    if (directory === undefined) throw new Error(`the image has no directory /${name}`);
    this.#keep(directory);
    try {
      const { fd, what } = this.#directoryMount(root, sysroot, digest, name, mode, directory);
      root.place(fd, directory);
      this.#options.report(`/${name}: ${what}`);
    } catch (cause) {
      throw new Error(`/${name} (${mode})`, { cause });
    }
  }

  #directoryMount(
    root: NewRoot,
    sysroot: Fd,
    digest: string,
    name: string,
    mode: "bind" | "overlay" | "transient",
    directory: Fd,
  ): { fd: Fd; what: string } {
    const attachLower = () => root.attach();
    if (mode === "transient") {
      const fd = this.#overlayInMemory(directory, "transient", attachLower);
      return { fd, what: "transient, changes are lost at reboot" };
    }
    const state = this.#openState(sysroot, digest, name);
    const readOnly = (this.#linux.fstatfs(state).flags & ST_RDONLY) !== 0;
    if (mode === "overlay") {
      if (readOnly) {
        throw new HintedError(
          "an overlay needs a writable physical root, which is mounted read-only",
          "put rw on the kernel command line",
        );
      }
      const fd = this.#overlay(directory, state, "overlay", attachLower);
      return { fd, what: "overlay, changes are kept in the deployment's state" };
    }
    // Not an error: a disk may be read-only for good. But usually it is a forgotten kernel argument.
    const note = readOnly ? ", read-only as the physical root is (rw makes both writable)" : "";
    return { fd: state, what: `bind of the deployment's state${note}` };
  }

  /**
   * A clone of a directory of the deployment's state. It is writable where the file system is, even if the mount at
   * `sysroot` is not (as in a running system). Symlinks are resolved below the physical root: `var` may be one, to the
   * `/var` that all deployments share.
   */
  #openState(sysroot: Fd, digest: string, name: string): Fd {
    const open = (path: string): Fd =>
      this.#keep(
        this.#linux.openat2(sysroot, path, {
          flags: O_PATH | O_DIRECTORY | O_CLOEXEC,
          resolve: RESOLVE_IN_ROOT,
        }),
      );
    const base = statePath(digest);
    const shown = `${this.#options.sysroot.replace(/\/+$/, "")}/${base}`;
    try {
      open(base);
    } catch (cause) {
      const hint = "the image is in the repository, but no deployment of it on this disk";
      throw new HintedError(`no state directory ${shown}`, hint, { cause });
    }
    let directory: Fd;
    try {
      directory = open(`${base}/${name}`);
    } catch (cause) {
      throw new Error(`no state directory ${shown}/${name}${this.#link(sysroot, base, name)}`, {
        cause,
      });
    }
    const clone = this.#keep(cloneMount(this.#linux, directory));
    try {
      this.#linux.mount_setattr(clone, "", AT_EMPTY_PATH, { clear: MOUNT_ATTR_RDONLY });
    } catch (error) {
      // In a user namespace the flag may be locked. Then it stays, and the report says so.
      if (!isErrno(error, "EPERM")) throw error;
    }
    return clone;
  }

  /** For messages: where a symlink leads. */
  #link(sysroot: Fd, base: string, name: string): string {
    try {
      return ` (a link to ${display(this.#linux.readlinkat(sysroot, `${base}/${name}`))})`;
    } catch {
      return "";
    }
  }
}
