/** `mount.composefs`: what mount(8) runs for the type composefs, with the options of the C project's helper (1.0). */
import { fromHex, type HashName, hashOfHexLength, sameDigest } from "../../src/formats/digest.ts";
import { parseMountOptions, splitEscaped, unescapeValue } from "../../src/formats/mount-options.ts";
import { mountComposefs } from "../../src/linux/composefs-mount.ts";
import {
  AT_FDCWD,
  MOVE_MOUNT_F_EMPTY_PATH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
} from "../../src/linux/constants.ts";
import { isRefused } from "../../src/linux/fs-context.ts";
import type { Fd, Linux } from "../../src/linux/linux.ts";
import { describeMeasured, measureVerity } from "../../src/linux/verity.ts";
import { UsageError } from "./errors.ts";
import { parseToolArgs, type Tool } from "./tool.ts";

const USAGE = `usage: mount.composefs [-t type] [-o opt[,opts..]] IMAGE MOUNTPOINT
Example:
  mount.composefs -o basedir=/composefs/objects exampleimage.cfs /mnt/exampleimage
or, as a mount helper:
  mount -t composefs -o basedir=/composefs/objects exampleimage.cfs /mnt/exampleimage

Supported options:
  basedir=PATH[:PATH]    Specify location of basedir(s)
  digest=DIGEST          Specify required image digest
  idmap=PATH             Specify path to a user namespace whose ID mapping should be used
  verity                 Require all files to have specified and valid fs-verity digests
  tryverity              If supported by kernel, require fs-verity
  ro                     Read only
  rw                     Read/write
  upperdir=PATH          Directory for changes, with workdir
  workdir=PATH           Empty directory beside upperdir
`;

const ARGUMENTS = {
  type: { type: "string", short: "t", default: "composefs" },
  options: { type: "string", short: "o", multiple: true },
  // mount(8) passes these on; there is nothing to do for them
  "no-mtab": { type: "boolean", short: "n" },
  sloppy: { type: "boolean", short: "s" },
  verbose: { type: "boolean", short: "v" },
} as const;

export const tool: Tool = { name: "mount.composefs", usage: USAGE, run };

interface Options {
  basedirs: string[];
  digest?: { readonly hash: HashName; readonly bytes: Uint8Array };
  idmap?: string;
  upperdir?: string;
  workdir?: string;
  verity: "require" | "try" | "none";
  readOnly: boolean;
}

/** What each option with a value does to the others' sum. */
const VALUES: Readonly<Record<string, (options: Options, value: string) => void>> = {
  basedir(options, value) {
    const paths = splitEscaped(value, ":").map(unescapeValue);
    if (paths.includes("")) throw new Error(`basedir=${value}: empty path`);
    options.basedirs = paths;
  },
  digest(options, value) {
    const bytes = fromHex(value);
    const hash = hashOfHexLength(value.length);
    if (bytes === undefined || hash === undefined) {
      throw new Error(`digest=${value}: expected 64 hex digits of sha256 (or 128 of sha512)`);
    }
    options.digest = { hash, bytes };
  },
  idmap(options, value) {
    options.idmap = unescapeValue(value);
  },
  upperdir(options, value) {
    options.upperdir = unescapeValue(value);
  },
  workdir(options, value) {
    options.workdir = unescapeValue(value);
  },
};

const FLAGS: Readonly<Record<string, (options: Options) => void>> = {
  verity(options) {
    options.verity = "require";
  },
  tryverity(options) {
    if (options.verity === "none") options.verity = "try";
  },
  ro(options) {
    options.readOnly = true;
  },
  rw(options) {
    options.readOnly = false;
  },
};

function parseOptions(text: string): Options {
  const options: Options = { basedirs: [], verity: "none", readOnly: false };
  for (const { key, value } of parseMountOptions(text)) {
    if (Object.hasOwn(FLAGS, key)) FLAGS[key]!(options);
    else if (!Object.hasOwn(VALUES, key)) throw new Error(`unsupported option ${key}`);
    else if (value === undefined || value === "") {
      throw new Error(`no value specified for the option ${key}`);
    } else VALUES[key]!(options, value);
  }
  if (options.digest !== undefined) options.verity = "require";
  if ((options.upperdir === undefined) !== (options.workdir === undefined)) {
    throw new Error("both workdir and upperdir must be specified if used");
  }
  return options;
}

async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseToolArgs(args, ARGUMENTS);
  const [image, target, ...more] = positionals;
  if (image === undefined) throw new UsageError("no source path specified");
  if (target === undefined) throw new UsageError("no mount path specified");
  if (more.length > 0) throw new UsageError("too many arguments");
  if (values.type !== "composefs") throw new Error(`unsupported fs type '${values.type}'`);
  const options = parseOptions((values.options ?? []).join(","));
  if (options.basedirs.length === 0) throw new UsageError("no object dirs specified");
  const { linux } = await import("../linux.ts");
  try {
    mount(linux, image, target, options);
  } catch (error) {
    throw new Error(`Failed to mount composefs ${image}`, { cause: error });
  }
}

/** The process ends after this, and with it the descriptors. */
function mount(linux: Linux, path: string, target: string, options: Options): void {
  const open = (path: string, flags: number) => linux.openat(AT_FDCWD, path, flags | O_CLOEXEC);
  const directory = (path: string) => open(path, O_PATH | O_DIRECTORY);
  const { upperdir, workdir, idmap, verity } = options;
  const image = open(path, O_RDONLY);
  if (options.digest !== undefined) checkDigest(linux, image, options.digest);
  const settings = {
    image,
    name: path,
    dataDirs: options.basedirs.map(directory),
    readOnly: options.readOnly,
    ...(upperdir !== undefined &&
      workdir !== undefined && { upper: { dir: directory(upperdir), work: directory(workdir) } }),
    ...(idmap !== undefined && { userns: open(idmap, O_RDONLY) }),
  };
  const make = (verity: "require" | "none") => mountComposefs(linux, { ...settings, verity }).fd;
  const made = verity === "try" ? tryRequired(make) : make(verity);
  linux.move_mount(made, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
}

function tryRequired(make: (verity: "require" | "none") => Fd): Fd {
  try {
    return make("require");
  } catch (error) {
    if (!isRefused(error, "EINVAL", "ENOSYS")) throw error;
    return make("none");
  }
}

/** The kernel's own digest of the image must be the expected one. */
function checkDigest(
  linux: Linux,
  image: Fd,
  { hash, bytes }: NonNullable<Options["digest"]>,
): void {
  const measured = measureVerity(linux, image, hash);
  if (measured.state === "verity") {
    if (!sameDigest(measured.digest, bytes)) throw new Error("Image has wrong fs-verity");
    return;
  }
  throw new Error(
    measured.state === "other-algorithm"
      ? `Image has wrong fs-verity: ${describeMeasured(measured)}`
      : "Image has no fs-verity",
  );
}
