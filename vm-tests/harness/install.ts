/** A machine that keeps itself up to date: Debian with cfsboot and Node in the image, installed on a disk as a user would. */
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { downloadPackage } from "../../scripts/debian-packages.mjs";
import { CACHE, cached, hashOf, PROJECT } from "./cache.ts";
import { cfsboot, type Extra, ociImage, type Say } from "./systems.ts";

const SUITE = "trixie";
const TAG = "machine";

/** What the machine follows. Where that is, its registries.conf must say. */
export const FOLLOWED = "registry.example/os:stable";

/** What the image has in `/etc` that an update changes, or does not. */
export const ETC = {
  "app.conf": "one\n",
  "edited.conf": "from the image\n",
  unchanged: "as ever\n",
} as const;

/** How a machine boots. */
export interface Installation {
  readonly loader: "systemd" | "grub";
  /** More options of `cfsboot install to-disk`. */
  readonly options?: readonly string[];
  readonly extra?: Extra;
}

/** Kernel arguments of every machine. */
const KARGS = [
  ...["console=ttyS0", "panic=1", "loglevel=5", "systemd.firstboot=off"],
  // also where the boot loader takes none from the firmware
  ...["rd.shell=0", "rd.emergency=poweroff"],
];

/** The journal of one boot is looked at in the next. */
const JOURNAL = "[Journal]\nStorage=persistent\n";

/** The network is there as soon as the link is. */
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
async function machineImage(say: Say, extra?: Extra): Promise<{ layout: string; tag: string }> {
  const base = await ociImage(SUITE, say, extra);
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
    // where systemd mounts an ESP if there is an extended boot loader partition for /boot
    mkdirSync(join(files, "efi"));
    mkdirSync(join(files, "usr/bin"), { recursive: true });
    // the one of this project: another one may need libraries that the guest has not
    copyFileSync(join(PROJECT, "node_modules/node/bin/node"), join(files, "usr/bin/node"));
    execFileSync("dpkg-deb", ["-x", debianPackage("systemd-boot"), join(work, "systemd-boot")]);
    for (const path of BLESSING) {
      mkdirSync(dirname(join(files, path)), { recursive: true });
      copyFileSync(join(work, "systemd-boot", path), join(files, path));
    }
    // the boot loader that is installed
    execFileSync("dpkg-deb", ["-x", debianPackage("systemd-boot-efi"), files]);
    rmSync(join(files, "usr/share/doc"), { recursive: true, force: true });
    for (const [name, text] of Object.entries(ETC)) write(`etc/${name}`, text);
    write("usr/lib/systemd/network/10-machine.network", NETWORK);
    write("usr/lib/systemd/journald.conf.d/10-machine.conf", JOURNAL);
    const wants = join(files, "usr/lib/systemd/system/multi-user.target.wants");
    mkdirSync(wants, { recursive: true });
    symlinkSync("../systemd-networkd.service", join(wants, "systemd-networkd.service"));

    const layer = join(work, "layer.tar");
    const owner = ["--owner=0", "--group=0", "--numeric-owner", "--mode=go-w", "--mtime=@0"];
    execFileSync("tar", ["-C", files, "--sort=name", ...owner, "-cf", layer, "."]);
    const layout = await cached(
      extra ? `oci-machine-${extra.name}` : "oci-machine",
      hashOf(base.layout, readFileSync(layer)),
      (path) => {
        say("image of a machine that updates itself");
        cpSync(base.layout, path, { recursive: true });
        const image = `${path}:${base.tag}`;
        execFileSync("umoci", ["raw", "add-layer", "--image", image, "--tag", TAG, layer]);
      },
    );
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
export async function machineDisk(
  { loader, options = [], extra }: Installation = { loader: "systemd" },
  say: Say = () => {},
): Promise<MachineDisk> {
  const { layout, tag } = await machineImage(say, extra);
  const args = [
    ...["--source-imgref", `oci:${layout}:${tag}`, "--target-imgref", `docker://${FOLLOWED}`],
    ...["--esp-size", "128M", "--size", "2G", "--bootloader", loader],
    ...[...KARGS.flatMap((karg) => ["--karg", karg]), ...options],
  ];
  const program = readFileSync(join(PROJECT, "dist/cfsboot.mjs"));
  const kind = [
    loader,
    ...(extra ? [extra.name] : []),
    ...(options.length === 0 ? [] : [hashOf(...options).slice(0, 4)]),
  ];
  const disk = await cached(`disk-machine-${kind.join("-")}`, hashOf(program, ...args), (path) => {
    say(`cfsboot install to-disk ${["--bootloader", loader, ...options].join(" ")}`);
    cfsboot("install", "to-disk", ...args, path);
  });
  return { disk, layout, tag };
}
