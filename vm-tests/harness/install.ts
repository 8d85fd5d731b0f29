/**
 * A machine that keeps itself up to date: Debian with cfsboot and Node in the image, on a disk with systemd-boot in its EFI
 * system partition and a root that has fs-verity. Only root can make it.
 */
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { downloadPackage } from "../../scripts/debian-packages.mjs";
import { understand } from "../../src/model/deployments.ts";
import { openExplicitHost } from "../../userspace/deployment/explicit-host.ts";
import { observe } from "../../userspace/deployment/observe.ts";
import { deploy, planStage } from "../../userspace/deployment/stage.ts";
import { linux } from "../../userspace/linux.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { CACHE, cached, hashOf, PROJECT } from "./cache.ts";
import { stageRepository } from "./disk.ts";
import { debugfs, makeExt4 } from "./ext4.ts";
import { cfsboot, ociImage, type Say } from "./systems.ts";

const SUITE = "trixie";
const TAG = "machine";
const HASH = "sha512";
const ESP_MIB = 128;
const FREE_MIB = 512;
const SECTORS_PER_MIB = 2048;

/** What the machine follows. Where that is, its registries.conf must say. */
export const FOLLOWED = "registry.example/os:stable";

/** What the image has in `/etc` that an update changes, or does not. */
export const ETC = {
  "app.conf": "one\n",
  "edited.conf": "from the image\n",
  unchanged: "as ever\n",
} as const;

/** From one place, so that the network is there as soon as the link is. */
const NETWORK = "[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\nLinkLocalAddressing=no\n";

/** What blesses a boot that went well, of Debian's package systemd-boot. */
const BLESSING = [
  "usr/lib/systemd/systemd-bless-boot",
  "usr/lib/systemd/system-generators/systemd-bless-boot-generator",
  "usr/lib/systemd/system/systemd-bless-boot.service",
];

function debianPackage(name: string): string {
  return downloadPackage({ suite: SUITE, name, dir: join(PROJECT, ".cache", "packages") });
}

/** The image: an OCI layout and the tag in it. */
async function machineImage(say: Say): Promise<{ layout: string; tag: string }> {
  const base = await ociImage(SUITE, say);
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, "files-"));
  try {
    const files = join(work, "root");
    mkdirSync(files);
    execFileSync(join(PROJECT, "scripts", "install.sh"), [files]);
    rmSync(join(files, "usr/share/man"), { recursive: true, force: true });
    const write = (path: string, text: string) => {
      mkdirSync(dirname(join(files, path)), { recursive: true });
      writeFileSync(join(files, path), text);
    };
    mkdirSync(join(files, "usr/bin"), { recursive: true });
    // the one of this project: another one may need libraries that the guest has not
    copyFileSync(join(PROJECT, "node_modules/node/bin/node"), join(files, "usr/bin/node"));
    execFileSync("dpkg-deb", ["-x", debianPackage("systemd-boot"), join(work, "systemd-boot")]);
    for (const path of BLESSING) {
      mkdirSync(dirname(join(files, path)), { recursive: true });
      copyFileSync(join(work, "systemd-boot", path), join(files, path));
    }
    for (const [name, text] of Object.entries(ETC)) write(`etc/${name}`, text);
    write("usr/lib/systemd/network/10-machine.network", NETWORK);
    const wants = join(files, "usr/lib/systemd/system/multi-user.target.wants");
    mkdirSync(wants, { recursive: true });
    symlinkSync("../systemd-networkd.service", join(wants, "systemd-networkd.service"));

    const layer = join(work, "layer.tar");
    const owner = ["--owner=0", "--group=0", "--numeric-owner", "--mode=go-w", "--mtime=@0"];
    execFileSync("tar", ["-C", files, "--sort=name", ...owner, "-cf", layer, "."]);
    const layout = await cached("oci-machine", hashOf(base.layout, readFileSync(layer)), (path) => {
      say("image of a machine that updates itself");
      cpSync(base.layout, path, { recursive: true });
      const image = `${path}:${base.tag}`;
      execFileSync("umoci", ["raw", "add-layer", "--image", image, "--tag", TAG, layer]);
    });
    return { layout, tag: TAG };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export interface MachineDisk {
  /** Not to be written to: copy it. */
  readonly disk: string;
  /** The image that is on it, an OCI layout with a tag. */
  readonly layout: string;
  readonly tag: string;
}

/** The disk of a machine on which the image was just installed. */
export async function machineDisk(say: Say = () => {}): Promise<MachineDisk> {
  const { layout, tag } = await machineImage(say);
  const programs = ["dist/cfsboot.mjs", "vm-tests/harness/install.ts", "vm-tests/harness/seal.ts"];
  const key = hashOf(layout, ...programs.map((path) => readFileSync(join(PROJECT, path))));
  const disk = await cached("disk-machine", key, (path) => {
    say("disk with systemd-boot and an ext4 root with fs-verity");
    const work = mkdtempSync(join(CACHE, "install-"));
    try {
      install(path, work, `oci:${layout}:${tag}`);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  });
  return { disk, layout, tag };
}

function install(target: string, work: string, source: string): void {
  const [repository, root, esp] = ["repository", "root", "esp"].map((name) => join(work, name)) as [
    string,
    string,
    string,
  ];
  cfsboot("repo", "init", "--repo", repository, "--hash", HASH, "--insecure");
  cfsboot("image", "pull", source, "os", "--repo", repository, "--bootable");
  mkdirSync(join(root, "boot"), { recursive: true });
  mkdirSync(esp);
  deployTo(root, esp, repository);
  // the disk gets fs-verity, other than the directory that it is made from
  for (const entry of globSync(join(esp, "loader/entries/*.conf"))) {
    writeFileSync(entry, readFileSync(entry, "utf8").replace("composefs=?", "composefs="));
  }
  placeSystemdBoot(work, esp);

  const requests = stageRepository(
    { repository, hash: HASH, sealed: true },
    join(root, "composefs"),
  );
  rmSync(repository, { recursive: true });
  const rootImage = join(work, "root.ext4");
  makeExt4(rootImage, root, { verity: true, freeMib: FREE_MIB });
  debugfs(rootImage, requests);
  const espImage = join(work, "esp.fat");
  run("mkfs.vfat", ["-F", "32", "-C", espImage, `${ESP_MIB * 1024}`]);
  run("mcopy", ["-s", "-i", espImage, ...readdirSync(esp).map((name) => join(esp, name)), "::/"]);
  assemble(target, espImage, rootImage);
}

function deployTo(root: string, esp: string, path: string): void {
  const where = { sysroot: root, boot: [esp], run: undefined, running: undefined };
  using host = openExplicitHost(linux, { ...where, loader: "systemd-boot" });
  using repository = openRepository(path);
  const machine = understand(observe(host, repository).seen);
  const plan = planStage(host, repository, machine, openImage(repository, "os"), {
    reference: { transport: "registry", name: FOLLOWED, signature: undefined },
    keep: 2,
    locked: false,
    counted: false,
    // the root is found by the type of its partition, on the disk of the boot loader
    options: "rw console=ttyS0 panic=1 loglevel=5",
  });
  deploy(host, repository, plan);
}

function placeSystemdBoot(work: string, esp: string): void {
  execFileSync("dpkg-deb", ["-x", debianPackage("systemd-boot-efi"), join(work, "boot-efi")]);
  const program = join(work, "boot-efi/usr/lib/systemd/boot/efi/systemd-bootx64.efi");
  for (const path of ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"]) {
    mkdirSync(dirname(join(esp, path)), { recursive: true });
    copyFileSync(program, join(esp, path));
  }
  writeFileSync(join(esp, "loader/loader.conf"), "timeout 0\n");
}

/** Puts the file systems into partitions whose types say what they are (Discoverable Partitions Specification). */
function assemble(target: string, esp: string, root: string): void {
  const rootMib = Math.ceil(Number(execFileSync("stat", ["-c", "%s", root])) / 2 ** 20);
  const espAt = 1;
  const rootAt = espAt + ESP_MIB;
  writeFileSync(target, "");
  truncateSync(target, (rootAt + rootMib + 1) * 2 ** 20);
  const script = [
    "label: gpt",
    `start=${espAt * SECTORS_PER_MIB}, size=${ESP_MIB * SECTORS_PER_MIB}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B`,
    `start=${rootAt * SECTORS_PER_MIB}, size=${rootMib * SECTORS_PER_MIB}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709`,
  ];
  run("sfdisk", ["--quiet", "--no-reread", "--no-tell-kernel", target], script.join("\n"));
  const copy = (from: string, mib: number) =>
    run("dd", [`if=${from}`, `of=${target}`, "bs=1M", `seek=${mib}`, "conv=sparse,notrunc"]);
  copy(esp, espAt);
  copy(root, rootAt);
}

function run(command: string, args: readonly string[], input = ""): void {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  execFileSync(command, args, { env, input, stdio: ["pipe", "ignore", "pipe"] });
}
