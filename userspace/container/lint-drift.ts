/**
 * What machines that are installed already do not get from a new image: `/var` is filled once, at the installation, and the
 * machine's own `/etc/passwd` and `/etc/group` stay as soon as somebody has changed them. What systemd-tmpfiles and
 * systemd-sysusers make at each start they get.
 */
import { fromBytes, toText } from "../../src/formats/bytestring.ts";
import { systemdLines } from "../../src/formats/systemd-lines.ts";
import type { Rootfs } from "./rootfs.ts";

const MAX_FILE = 4 << 20;
/** Types of tmpfiles.d(5) that make something, without their modifiers. */
const MAKING = new Set([..."fFdDvqQpLcbC"]);

/** Directories and symlinks below `/var` that no line of tmpfiles.d makes, and files. */
export function varDrift(rootfs: Rootfs): string[] {
  const made = madeByTmpfiles(rootfs);
  const found: string[] = [];
  let hidden: string | undefined;
  rootfs.walk((bytes, target, type) => {
    const path = toText(bytes);
    if (path === undefined) return; // which is another check's
    // what is in a directory that is missing is missing, too
    if (hidden !== undefined && path.startsWith(`${hidden}/`)) return;
    hidden = undefined;
    const at = path.lastIndexOf("/");
    const key = keyOf(rootfs, path.slice(0, at), path.slice(at + 1));
    const how = key === undefined ? undefined : made.get(key);
    if (how === "C") hidden = path; // with all that is in it
    if (how !== undefined) return;
    if (type === "directory" || target !== undefined) {
      found.push(`${path}: no line of tmpfiles.d makes it`);
      hidden = path;
    } else {
      found.push(`${path} is no directory and no symlink: only new installations get it`);
    }
  }, "/var");
  return found;
}

/** What tmpfiles.d makes, by the directory that it is in and its name, and the type of the line. */
function madeByTmpfiles(rootfs: Rootfs): Map<string, string> {
  const made = new Map<string, string>();
  for (const [kind = "", path = ""] of linesOf(rootfs, "tmpfiles.d")) {
    const [type = ""] = kind;
    if (!MAKING.has(type) || !path.startsWith("/") || /%[^%]/.test(path)) continue;
    const clean = path.replaceAll("%%", "%").replace(/\/+$/, "");
    const at = clean.lastIndexOf("/");
    const key = keyOf(rootfs, clean.slice(0, at), clean.slice(at + 1));
    if (key !== undefined) made.set(key, type);
  }
  return made;
}

/** Paths that lead to one directory by different symlinks have the same key. */
function keyOf(rootfs: Rootfs, parent: string, name: string): string | undefined {
  const identity = rootfs.identity(parent === "" ? "/" : parent);
  return identity === undefined ? undefined : `${identity}/${name}`;
}

/** Users and groups of the image that no line of sysusers.d makes. */
export function userDrift(rootfs: Rootfs): string[] {
  const users = new Set<string>();
  const groups = new Set<string>();
  for (const [kind = "", name = "", second = ""] of linesOf(rootfs, "sysusers.d")) {
    const type = kind.charAt(0);
    if (type === "u" || type === "m") users.add(name);
    // a user has a group of the same name; what is not there of user and group to be joined is made
    if (type === "u" || type === "g") groups.add(name);
    if (type === "m") groups.add(second);
  }
  const missing = (file: string, known: ReadonlySet<string>, what: string) =>
    namesOf(rootfs, file)
      .filter((name) => !known.has(name))
      .map((name) => `${file}: no line of sysusers.d makes the ${what} ${name}`);
  return [...missing("/etc/passwd", users, "user"), ...missing("/etc/group", groups, "group")];
}

function namesOf(rootfs: Rootfs, file: string): string[] {
  return textOf(rootfs, file)
    .split("\n")
    .map((line) => line.slice(0, Math.max(line.indexOf(":"), 0)))
    .filter((name) => /^[^+\-#]/.test(name)); // + and -: of network databases
}

/** The words of all lines in a directory of configuration: a file of `/etc` hides that of the same name in `/usr/lib`. */
function linesOf(rootfs: Rootfs, directory: string): string[][] {
  const files = new Map<string, string>();
  for (const parent of ["/usr/lib", "/etc"]) {
    for (const name of rootfs.names(`${parent}/${directory}`)) {
      if (name.endsWith(".conf")) files.set(name, `${parent}/${directory}/${name}`);
    }
  }
  return [...files]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, path]) => systemdLines(textOf(rootfs, path)));
}

function textOf(rootfs: Rootfs, path: string): string {
  const bytes = rootfs.read(path, MAX_FILE);
  return bytes === undefined ? "" : (toText(fromBytes(bytes)) ?? "");
}
