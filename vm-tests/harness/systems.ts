/** The Debian systems that the tests boot, from packages to disks; every step is kept until its inputs change. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mirror } from "../../scripts/debian-packages.mjs";
import type { HashName } from "../../src/formats/digest.ts";
import { CACHE, cached, hashOf, hashOfTree, PROJECT } from "./cache.ts";
import { makeDisk } from "./disk.ts";
import { ImageFiles } from "./image-files.ts";

/** Debian 13 has Linux 6.12 and dracut 106; sid has Linux 7 and dracut 112. */
export type Suite = "trixie" | "sid";

/** What dracut is told. Debian 13 gets an initramfs for these virtual machines, which boots fast; sid gets the default. */
const DRACUT: Readonly<Record<Suite, string>> = {
  trixie:
    '--no-hostonly --no-hostonly-cmdline --no-early-microcode --compress "zstd -3"' +
    ' -m "base systemd systemd-initrd dracut-systemd cfsboot MODULES" --force-drivers virtio_blk',
  sid: "--no-hostonly --no-hostonly-cmdline --add cfsboot",
};

/** What a system has for some tests, which others need not wait for. */
export interface Extra {
  readonly name: string;
  /** Of Debian. */
  readonly packages: readonly string[];
  /** Of dracut, for Debian 13. */
  readonly modules: readonly string[];
  /** Kernel modules in the initramfs. */
  readonly drivers: readonly string[];
}

/** Installs to disks, with all kinds of root, and boots from them. */
export const STORAGE: Extra = {
  name: "storage",
  packages: [
    ...["btrfs-progs", "cryptsetup-bin", "dmsetup", "dosfstools", "fdisk", "systemd-cryptsetup"],
    ...["libtss2-esys-3.0.2-0t64", "libtss2-rc0t64", "libtss2-tcti-device0t64", "tpm2-tools"],
    ...["efibootmgr", "xfsprogs"],
  ],
  modules: ["crypt", "dm", "systemd-cryptsetup", "tpm2-tss"],
  drivers: ["btrfs", "xfs"],
};

function dracutOptions(suite: Suite, extra: Extra | undefined): string {
  const { modules, drivers } = extra ?? { modules: [], drivers: [] };
  const options = DRACUT[suite].replace(" MODULES", modules.map((name) => ` ${name}`).join(""));
  return drivers.length === 0 ? options : `${options} --add-drivers "${drivers.join(" ")}"`;
}

const TAG = "debian";
const RECIPE = join(PROJECT, "docs", "image");
const CFSBOOT = join(PROJECT, "dist", "cfsboot.mjs");

/** Told about every step that is not there yet. */
export type Say = (step: string) => void;

/** Path of a Debian root without cfsboot, a tar archive. */
export function baseTar(suite: Suite, say: Say = () => {}, extra?: Extra): Promise<string> {
  const recipe = join(RECIPE, "base.sh");
  const packages = extra?.packages ?? [];
  const key = hashOf(suite, process.arch, readFileSync(recipe), ...packages);
  return cached(nameOf("base", suite, extra), key, (path) => {
    say(`Debian ${suite} root, by mmdebstrap${extra ? `, with ${packages.join(", ")}` : ""}`);
    run(recipe, [suite, path, ...packages], { DEBIAN_MIRROR: mirror() });
  });
}

function nameOf(what: string, suite: Suite, extra: Extra | undefined): string {
  return [what, suite, ...(extra ? [extra.name] : [])].join("-");
}

/** The image: an OCI layout and the tag in it. */
export async function ociImage(
  suite: Suite,
  say: Say = () => {},
  extra?: Extra,
): Promise<{ layout: string; tag: string }> {
  const base = await baseTar(suite, say, extra);
  const dracut = dracutOptions(suite, extra);
  mkdirSync(CACHE, { recursive: true });
  const files = mkdtempSync(join(CACHE, "files-"));
  try {
    run(join(PROJECT, "scripts", "install.sh"), ["--initramfs-only", files]);
    const recipe = join(RECIPE, "image.sh");
    const key = hashOf(base, dracut, readFileSync(recipe), hashOfTree(files));
    const layout = await cached(nameOf("oci", suite, extra), key, (path) => {
      say(`image of Debian ${suite} with cfsboot: initramfs by dracut, layers by umoci`);
      run(recipe, [base, files, path, TAG], { DRACUT: dracut });
    });
    return { layout, tag: TAG };
  } finally {
    rmSync(files, { recursive: true, force: true });
  }
}

export interface Deployment {
  readonly suite: Suite;
  readonly hash: HashName;
  /** An insecure repository that has the image. */
  readonly repository: string;
  /** The bootable image's digest, in hex. */
  readonly digest: string;
  /** Taken from the image. */
  readonly kernel: string;
  readonly initramfs: string;
  readonly files: ImageFiles;
}

/** Pulls the image into a repository of this hash. */
export async function deployment(
  suite: Suite,
  hash: HashName,
  say: Say = () => {},
): Promise<Deployment> {
  const { layout, tag } = await ociImage(suite, say);
  const key = hashOf(layout, readFileSync(CFSBOOT), hash);
  const path = await cached(`repository-${suite}-${hash}`, key, (to) => {
    const repository = join(to, "composefs");
    mkdirSync(to);
    say(`cfsboot image pull oci:… ${tag}, into a ${hash} repository`);
    cfsboot("repo", "init", "--repo", repository, "--hash", hash, "--insecure");
    cfsboot("image", "pull", `oci:${layout}:${tag}`, tag, "--repo", repository, "--bootable");
    const digest = cfsboot("image", "digest", "--bootable", tag, "--repo", repository).trim();
    const files = new ImageFiles(repository, digest);
    const [kver] = files.list("usr/lib/modules");
    writeFileSync(join(to, "digest"), digest);
    for (const name of ["vmlinuz", "initramfs.img"])
      writeFileSync(join(to, name), files.read(`usr/lib/modules/${kver}/${name}`));
  });
  const repository = join(path, "composefs");
  const digest = readFileSync(join(path, "digest"), "utf8");
  return {
    suite,
    hash,
    repository,
    digest,
    kernel: join(path, "vmlinuz"),
    initramfs: join(path, "initramfs.img"),
    files: new ImageFiles(repository, digest),
  };
}

export interface DiskKind {
  readonly sealed: boolean;
  readonly metaJson?: boolean;
}

/** A disk with the deployment. Not to be written to: copy it, or boot it without `persistent`. */
export function disk(from: Deployment, kind: DiskKind, say: Say = () => {}): Promise<string> {
  const { repository, hash, digest, suite } = from;
  const sources = ["disk.ts", "ext4.ts", "seal.ts", "image-files.ts"].map((name) =>
    readFileSync(join(PROJECT, "vm-tests", "harness", name)),
  );
  const key = hashOf(repository, digest, JSON.stringify(kind), ...sources);
  return cached(
    `disk-${suite}-${hash}-${hashOf(JSON.stringify(kind)).slice(0, 4)}`,
    key,
    (path) => {
      say(`ext4 disk ${kind.sealed ? "with" : "without"} fs-verity, ${suite}, ${hash}`);
      makeDisk(path, { repository, hash, image: digest, ...kind });
    },
  );
}

/** Runs the command that was built, as a user would. */
export function cfsboot(...args: string[]): string {
  return run(process.execPath, [CFSBOOT, ...args]);
}

function run(command: string, args: readonly string[], env: Record<string, string> = {}): string {
  try {
    return execFileSync(command, args, {
      encoding: "utf8",
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      maxBuffer: 1 << 26,
    });
  } catch (cause) {
    const { stderr = "" } = cause as { stderr?: string };
    throw new Error(`${command} ${args.join(" ")} failed: ${stderr.trim()}`, { cause });
  }
}
