/**
 * The Debian packages that building, testing and booting need: which are missing, and installing them.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";

/** Per purpose: why, and the packages; `services` are what these would start. All are in Debian 12 and 13. */
export const PURPOSES = {
  build: {
    why: "to compile the native parts",
    packages: ["gcc", "libc6-dev", "musl-tools", "xz-utils", "dpkg-dev"],
  },
  test: {
    why: "to compare with other people's tools and to serve images on loopback",
    packages: [
      "attr",
      "busybox",
      "cryptsetup-bin",
      "docker-registry",
      "dosfstools",
      "e2fsprogs",
      "erofs-utils",
      "fdisk",
      "fsverity",
      "grub-common",
      "grub-efi-amd64-bin",
      "libarchive-tools",
      "mandoc",
      "mtools",
      "openssl",
      "pax",
      "python3",
      "skopeo",
      "umoci",
      "util-linux",
      "zstd",
    ],
    services: { "docker-registry": "docker-registry.service" },
  },
  vm: {
    why: "to make a Debian image and boot it in QEMU",
    packages: [
      "debian-archive-keyring",
      "dosfstools",
      "e2fsprogs",
      "fdisk",
      "grub-common",
      "grub-efi-amd64-bin",
      "mmdebstrap",
      "mtools",
      "ovmf",
      "qemu-system-x86",
      "swtpm",
      "uidmap",
      "umoci",
      "zstd",
    ],
  },
};

/** Those of `packages` that are not installed. */
export function missingPackages(packages) {
  const { stdout, error } = spawnSync(
    "dpkg-query",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own format
    ["--show", "--showformat=${binary:Package} ${db:Status-Status}\n", ...packages],
    { encoding: "utf8" },
  );
  if (error) throw new Error("this is no Debian system: there is no dpkg-query", { cause: error });
  const installed = new Set(
    stdout
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0].replace(/:.*/, "")),
  );
  return packages.filter((name) => !installed.has(name));
}

/** How to become root without being asked for anything: a command prefix, or undefined. */
function rootPrefix() {
  if (process.geteuid() === 0) return [];
  const { status } = spawnSync("sudo", ["-n", "true"], { stdio: "ignore" });
  if (status === 0) return ["sudo", "-n"];
  // sudo may ask for a password where somebody can answer
  try {
    accessSync("/usr/bin/sudo", constants.X_OK);
  } catch {
    return undefined;
  }
  return process.stdin.isTTY ? ["sudo"] : undefined;
}

function aptGet(prefix, args) {
  const command = [
    ...prefix,
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    "-q",
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "DPkg::Lock::Timeout=300",
    ...args,
  ];
  const { status, stdout, stderr } = spawnSync(command[0], command.slice(1), {
    // a password prompt of sudo goes to the terminal itself
    stdio: ["inherit", "pipe", "pipe"],
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  return { ok: status === 0, output: `${stdout ?? ""}${stderr ?? ""}` };
}

/** What was installed for its program shall not run as a service. */
function stopServices(prefix, purposes, installed, say) {
  if (!existsSync("/run/systemd/system")) return;
  for (const [name, unit] of purposes.flatMap((key) =>
    Object.entries(PURPOSES[key].services ?? {}),
  )) {
    if (!installed.has(name)) continue;
    const [command, ...args] = [...prefix, "systemctl", "--quiet", "disable", "--now", unit];
    const { status } = spawnSync(command, args, { stdio: "ignore" });
    say(
      status === 0 ? `${unit}: turned off again` : `${unit} was started and could not be stopped`,
    );
  }
}

/**
 * Makes sure that the packages of `purposes` (keys of `PURPOSES`) are installed. Says through `say` what it is going
 * to install and why, installs it as root or through sudo, and throws with the command to type where it cannot.
 */
export function ensurePackages(purposes, say = console.log) {
  const wanted = new Set();
  for (const purpose of purposes) {
    const { why, packages } = PURPOSES[purpose];
    const missing = missingPackages(packages.filter((name) => !wanted.has(name)));
    for (const name of missing) wanted.add(name);
    if (missing.length > 0) say(`installing ${why}: ${missing.join(" ")}`);
  }
  if (wanted.size === 0) return;
  const install = ["install", "-y", "--no-install-recommends", ...wanted];
  const typed = `apt-get install --no-install-recommends ${[...wanted].join(" ")}`;
  const prefix = rootPrefix();
  if (prefix === undefined)
    throw new Error(`neither root nor sudo without a password: run as root: ${typed}`);
  // the package lists may be missing (containers) or old: only then are they fetched
  let result = aptGet(prefix, install);
  if (!result.ok) {
    const update = aptGet(prefix, ["update"]);
    result = aptGet(prefix, install);
    if (!result.ok)
      throw new Error(
        `${typed} failed:\n${(update.ok ? result.output : update.output + result.output).trim()}`,
      );
  }
  stopServices(prefix, purposes, wanted, say);
}
