/** What an initramfs holds that a root file system from a composefs image needs. */
import { display, toText } from "../formats/bytestring.ts";
import type { CpioEntry } from "../formats/cpio.ts";
import type { Opener } from "./encryption.ts";

/** Modules that are looked for. */
export const ROOT_MODULES = [
  ...(["erofs", "overlay", "loop", "dm-crypt"] as const),
  ...(["ext4", "btrfs", "xfs"] as const),
] as const;
export type RootModule = (typeof ROOT_MODULES)[number];

export interface InitramfsContent {
  /** Paths, for people, of the programs that set up the root: ours, composefs-rs's, or bootc's. */
  readonly programs: readonly string[];
  /** Names of the units that start one of them before the root file system is used. */
  readonly units: readonly string[];
  /** By the release of their kernel, which modules of those that are looked for it has. */
  readonly modules: ReadonlyMap<string, ReadonlySet<RootModule>>;
  /** What there is a program, or libraries, for to open an encrypted root. */
  readonly openers: ReadonlySet<Opener>;
}

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const ANY_EXECUTABLE = 0o111;

const PROGRAM = /(?:^|\/)composefs-setup-root$|^lib\/bootc\/initramfs-setup$/;
const WANTED =
  /\/initrd-root-fs\.target\.(?:wants|requires)\/(composefs-setup-root\.service|bootc-root-setup\.service)$/;
const CRYPTSETUP = /(?:^|\/)systemd-cryptsetup$/;
/** What systemd-cryptsetup(8) talks to a TPM by. */
const TPM = /(?:^|\/)libtss2-esys\.so/;
const RELEASE = /^lib\/modules\/([^/]+)\//;
const MODULE = /\/([^/]+)\.ko(?:\.(?:gz|xz|zst))?$/;

/** Collects it from the entries of an initramfs, in any order. */
export class InitramfsFinder {
  readonly #programs = new Set<string>();
  readonly #units = new Set<string>();
  readonly #openers = new Set<Opener>();
  readonly #modules = new Map<string, Set<RootModule>>();

  add({ name, mode }: CpioEntry): void {
    const path = toText(name)?.replace(/^(?:\.?\/)+/, "");
    if (path === undefined) return;
    // /lib and /bin are in /usr or lead there
    const short = path.replace(/^usr\//, "");
    const isProgram = (mode & S_IFMT) === S_IFREG && (mode & ANY_EXECUTABLE) !== 0;
    if (isProgram && PROGRAM.test(short)) this.#programs.add(`/${display(name)}`);
    if (isProgram && CRYPTSETUP.test(short)) this.#openers.add("passphrase");
    if (TPM.test(short)) this.#openers.add("tpm2");
    const unit = WANTED.exec(short)?.[1];
    if (unit !== undefined) this.#units.add(unit);
    const release = RELEASE.exec(short)?.[1];
    const module = MODULE.exec(short)?.[1];
    if (release === undefined || module === undefined) return;
    const modules = this.#modules.get(release) ?? new Set();
    this.#modules.set(release, modules);
    const wanted = ROOT_MODULES.find((one) => one === module);
    if (wanted !== undefined) modules.add(wanted);
  }

  get content(): InitramfsContent {
    return {
      programs: [...this.#programs],
      units: [...this.#units],
      modules: this.#modules,
      openers: this.#openers,
    };
  }
}
