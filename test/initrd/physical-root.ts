/** A physical root as composefs-setup-root finds it: a repository with one image, and a deployment's state. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type HashName, objectPath, toHex } from "../../src/formats/digest.ts";
import { parseDumpfile } from "../../src/formats/dumpfile.ts";
import { writeErofs } from "../../src/formats/erofs/writer.ts";
import { digestBytes } from "../../userspace/hash.ts";

const here = dirname(fileURLToPath(import.meta.url));

/** What the only file of the image that is an object holds. */
export const OBJECT = `${"an object ".repeat(20)}\n`;

export interface PhysicalRoot {
  readonly path: string;
  /** Of the image: its name and the deployment's. */
  readonly digest: string;
  /** The deployment's directory. */
  readonly state: string;
}

const removals: (() => void)[] = [];

/** Removes all that `makePhysicalRoot` and `run` made. */
export function removeAll(): void {
  for (const remove of removals.splice(0)) remove();
}

function temporary(): string {
  const path = mkdtempSync(join(tmpdir(), "setup-root-"));
  removals.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Without `meta.json`, as bootc up to 1.15 made them. `without` are directories that the image lacks. */
export function makePhysicalRoot(hash: HashName, without: readonly string[] = []): PhysicalRoot {
  const path = temporary();
  const addObject = (data: Uint8Array): string => {
    const digest = toHex(digestBytes(hash, data));
    const file = join(path, "composefs/objects", objectPath(digest));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, data);
    return digest;
  };
  const object = addObject(Buffer.from(OBJECT));
  const dump = [
    "/ 0 40755 2 0 0 0 0.0 - - -",
    "/etc 0 40751 2 0 7 0 0.0 - - -",
    "/etc/conf 5 100644 1 0 0 0 0.0 - image -",
    "/sysroot 0 40755 2 0 0 0 0.0 - - -",
    "/usr 0 40755 2 0 0 0 0.0 - - -",
    `/usr/object ${OBJECT.length} 100644 1 0 0 0 0.0 ${objectPath(object)} - ${object}`,
    "/var 0 40755 2 0 0 0 0.0 - - -",
    "/var/new 5 100644 1 0 0 0 0.0 - image -",
  ].filter((line) => !without.some((name) => line.startsWith(name)));
  const digest = addObject(
    writeErofs(parseDumpfile(Buffer.from(`${dump.join("\n")}\n`)).tree, { format: 1 }),
  );
  mkdirSync(join(path, "composefs/images"));
  symlinkSync(`../objects/${objectPath(digest)}`, join(path, "composefs/images", digest));
  const state = join(path, "state/deploy", digest);
  mkdirSync(join(state, "etc"), { recursive: true });
  mkdirSync(join(path, "state/os/default/var"), { recursive: true });
  writeFileSync(join(state, "etc/conf"), "state");
  writeFileSync(join(path, "state/os/default/var/kept"), "kept");
  symlinkSync("../../os/default/var", join(state, "var"));
  return { path, digest, state };
}

export interface Provider {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** On kernels that count EROFS from a file as a level of stacking. */
export const STACKING: Provider = {
  name: "node, stacking",
  command: [process.execPath, join(here, "under-node.ts")],
  env: { CFSBOOT_TEST_KERNEL: "stacking" },
};

const underNode = [process.execPath, join(here, "under-node.ts")];

/** The program that ships, and the same TypeScript under Node: on this kernel, and as on Linux 6.12. */
export const PROVIDERS: readonly Provider[] = [
  { name: "executable", command: [join(here, "../../dist/composefs-setup-root")] },
  { name: "node", command: underNode },
  { name: "node, as on Linux 6.12", command: underNode, env: { CFSBOOT_TEST_KERNEL: "6.12" } },
];

/** Why nothing can be mounted here, or `undefined`. */
export function cannotMount(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  const unshared = spawnSync("unshare", ["-m", "true"]);
  if (unshared.status !== 0) return "needs a mount namespace of its own (unshare -m)";
  spawnSync("modprobe", ["-a", "erofs", "overlay", "loop"]);
  const known = readFileSync("/proc/filesystems", "utf8");
  for (const name of ["erofs", "overlay"]) {
    if (!known.includes(`\t${name}\n`)) return `this kernel has no ${name}`;
  }
  return undefined;
}

export interface Mount {
  /** Below the physical root's path; "/" is the root itself. */
  readonly at: string;
  readonly type: string;
  readonly source: string;
  readonly readOnly: boolean;
  /** The directory of the file system that is mounted. */
  readonly root: string;
  readonly options: string;
}

export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** All mounts at and below `sysroot` afterwards, sorted by place. */
  readonly mounts: readonly Mount[];
  /** What the command `inspect` printed afterwards. */
  readonly seen: string;
}

export interface RunOptions {
  readonly cmdline?: string;
  /** The configuration's text. */
  readonly conf?: string;
  readonly args?: readonly string[];
  /** Shell commands before the program; `$SYSROOT` is a mount point. */
  readonly before?: string;
  /** Shell commands after it. */
  readonly inspect?: string;
  /** Whose mounts are told: the physical root's path unless said otherwise. */
  readonly watch?: string;
}

const SCRIPT = `
mount --bind "$SYSROOT" "$SYSROOT" || exit 99
eval "$BEFORE" || exit 98
"$@" >"$OUT/stdout" 2>"$OUT/stderr"
echo $? >"$OUT/status"
cat /proc/self/mountinfo >"$OUT/mounts"
eval "$INSPECT" 2>&1
`;

/** Runs the program in a mount namespace of its own, in which the physical root is a mount point. */
export function run(provider: Provider, root: PhysicalRoot, options: RunOptions): Result {
  const out = temporary();
  const conf = join(out, "conf.toml");
  writeFileSync(conf, options.conf ?? "");
  const args = ["--sysroot", root.path, "--config", conf];
  args.push("--cmdline", options.cmdline ?? `ro composefs=?${root.digest}`);
  args.push(...(options.args ?? []));
  const child = spawnSync(
    "unshare",
    ["-m", "--propagation", "private", "sh", "-c", SCRIPT, "sh", ...provider.command, ...args],
    {
      encoding: "utf8",
      timeout: 60_000,
      env: {
        ...process.env,
        ...provider.env,
        SYSROOT: root.path,
        OUT: out,
        BEFORE: options.before ?? "",
        INSPECT: options.inspect ?? "",
      },
    },
  );
  if (!existsSync(join(out, "mounts")))
    throw new Error(`no result: ${child.stdout}${child.stderr}`);
  const read = (name: string) => readFileSync(join(out, name), "utf8");
  return {
    status: Number(read("status")),
    stdout: read("stdout"),
    stderr: read("stderr").replaceAll(out, "OUT"),
    mounts: parseMounts(read("mounts"), options.watch ?? root.path),
    seen: child.stdout,
  };
}

/** proc_pid_mountinfo(5) */
function parseMounts(text: string, below: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root = "", at = "", options = ""] = before.split(" ");
    const [type = "", source = "", superOptions = ""] = after.split(" ");
    if (at !== below && !at.startsWith(`${below}/`)) continue;
    mounts.push({
      at: at.slice(below.length) || "/",
      type,
      source,
      readOnly: options.split(",").includes("ro"),
      root,
      options: superOptions,
    });
  }
  return mounts.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}
