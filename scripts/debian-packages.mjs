/**
 * Downloads Debian packages of any suite, without touching the machine's own package lists and without root: a private
 * apt root for each suite under `.cache/apt`, filled from the mirror that the machine's own sources name.
 */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const CACHE = fileURLToPath(new URL("../.cache/apt", import.meta.url));
const KEYRINGS = ["debian-archive-keyring.gpg", "debian-archive-keyring.pgp"].map(
  (name) => `/usr/share/keyrings/${name}`,
);
/** Package lists are good for a day; a download that fails refreshes them at once. */
const LISTS_MAX_AGE_MS = 24 * 60 * 60 * 1000;

/**
 * @typedef {{types: string[], uris: string[], suites: string[], components: string[]}} AptSource
 */

/**
 * The enabled entries of a `.sources` file (deb822, sources.list(5)).
 * @param {string} text
 * @returns {AptSource[]}
 */
export function parseDeb822Sources(text) {
  const stanzas = text
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .join("\n")
    .split(/\n\s*\n/);
  return stanzas.flatMap((stanza) => {
    const fields = new Map();
    // A line that starts with a blank continues the field before it.
    for (const field of stanza.replace(/\n[ \t]+/g, " ").split("\n")) {
      const colon = field.indexOf(":");
      if (colon < 0) continue;
      const words = field.slice(colon + 1).split(/\s+/);
      fields.set(field.slice(0, colon).trim().toLowerCase(), words.filter(Boolean));
    }
    const words = (name) => fields.get(name) ?? [];
    const enabled = !/^(no|false|without|off|disable|0)$/i.test(words("enabled")[0] ?? "yes");
    if (!enabled || words("uris").length === 0) return [];
    const [types, uris, suites] = [words("types"), words("uris"), words("suites")];
    return [{ types, uris, suites, components: words("components") }];
  });
}

/**
 * The entries of a `.list` file (one line each, sources.list(5)).
 * @param {string} text
 * @returns {AptSource[]}
 */
export function parseOneLineSources(text) {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*(deb|deb-src)\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)([^#]*)/.exec(line);
    if (match === null) return [];
    const [, type, uri, suite, rest] = match;
    const components = rest.split(/\s+/).filter(Boolean);
    return [{ types: [type], uris: [uri], suites: [suite], components }];
  });
}

/** All enabled sources in apt's configuration directory. */
function machineSources(etc) {
  const read = (path, parse) => (existsSync(path) ? parse(readFileSync(path, "utf8")) : []);
  const parts = join(etc, "sources.list.d");
  const names = existsSync(parts) ? readdirSync(parts).sort() : [];
  return [
    ...read(join(etc, "sources.list"), parseOneLineSources),
    ...names.flatMap((name) => {
      if (name.endsWith(".sources")) return read(join(parts, name), parseDeb822Sources);
      if (name.endsWith(".list")) return read(join(parts, name), parseOneLineSources);
      return [];
    }),
  ];
}

/**
 * The URI of the Debian archive that this machine installs from: `DEBIAN_MIRROR` where it is set, else the one that
 * apt's sources name for the machine's release.
 * @param {string} [etc] another place than /etc
 * @returns {string}
 */
export function mirror(etc = "/etc") {
  if (process.env.DEBIAN_MIRROR) return process.env.DEBIAN_MIRROR;
  const osRelease = join(etc, "os-release");
  const release = existsSync(osRelease) ? readFileSync(osRelease, "utf8") : "";
  const codename = /^VERSION_CODENAME="?([^"\n]+)/m.exec(release)?.[1];
  const suites = new Set(["stable", "testing", "unstable", "sid", codename]);
  const isDebian = /^ID="?debian"?$/m.test(release);
  const candidates = machineSources(join(etc, "apt")).filter(
    ({ types, suites: named, components }) =>
      types.includes("deb") && components.includes("main") && named.some((s) => suites.has(s)),
  );
  // Other vendors name their suites like Debian's too; mirrors of Debian are at …/debian.
  const isArchive = (source) => /\/debian\/?$/.test(source.uris[0]);
  const source = candidates.find(isArchive) ?? candidates[0];
  if (!isDebian || source === undefined) {
    throw Object.assign(new Error("no Debian mirror in the sources of apt on this machine"), {
      hint: "name one in the environment variable DEBIAN_MIRROR",
    });
  }
  return source.uris[0];
}

/** The keyring that signs the archive, for `signed-by`. */
export function keyring() {
  const found = KEYRINGS.find((path) => existsSync(path));
  if (found === undefined) {
    throw Object.assign(new Error(`no ${KEYRINGS[0]}`), {
      hint: "apt-get install debian-archive-keyring",
    });
  }
  return found;
}

/** The private apt root of a suite: options for every apt command, and where its lists are. */
function aptRoot(suite, component, source) {
  const root = join(CACHE, `${suite}-${component}${source ? "-source" : ""}`);
  const lists = join(root, "lists");
  mkdirSync(join(lists, "partial"), { recursive: true });
  // The machine's own sources and pins do not count here.
  const none = join(root, "none");
  mkdirSync(none, { recursive: true });
  mkdirSync(join(root, "cache/archives/partial"), { recursive: true });
  writeFileSync(join(root, "status"), "");
  const type = source ? "deb-src" : "deb";
  writeFileSync(
    join(root, "sources.list"),
    `${type} [signed-by=${keyring()}] ${mirror()} ${suite} ${component}\n`,
  );
  const options = {
    "Dir::Etc::sourcelist": join(root, "sources.list"),
    "Dir::Etc::sourceparts": none,
    "Dir::Etc::preferences": join(none, "preferences"),
    "Dir::Etc::preferencesparts": none,
    "Dir::State": root,
    "Dir::State::lists": lists,
    "Dir::State::status": join(root, "status"),
    "Dir::Cache": join(root, "cache"),
    // Not to the user _apt, who may not write here.
    "APT::Sandbox::User": "",
    "APT::Update::Error-Mode": "any",
    "APT::Get::AllowUnauthenticated": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
  };
  return {
    root,
    stamp: join(root, "updated"),
    options: Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
  };
}

/** Runs an apt command; one at a time for each private root, since apt does not wait for the lock on its lists. */
function runApt(apt, command, words, cwd) {
  try {
    return execFileSync("flock", [join(apt.root, "lock"), command, ...apt.options, ...words], {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, LC_ALL: "C.UTF-8" },
    });
  } catch (cause) {
    if (cause.code === "ENOENT" || cause.status === 69) {
      throw Object.assign(new Error(`${command} or flock is not on this machine`, { cause }), {
        hint: "packages are fetched with apt: do this on Debian",
      });
    }
    const said = (cause.stderr ?? "").trim().split("\n").slice(-5).join("\n");
    throw new Error(`${command} ${words.join(" ")}: ${said || cause.message}`);
  }
}

function update(apt) {
  runApt(apt, "apt-get", ["-qq", "update"], apt.root);
  writeFileSync(apt.stamp, "");
}

/** `action`, with lists that are not too old; once more with new lists if the archive has moved on since. */
function withLists(apt, action) {
  const age = existsSync(apt.stamp) ? Date.now() - statSync(apt.stamp).mtimeMs : Infinity;
  if (age > LISTS_MAX_AGE_MS) update(apt);
  try {
    return action();
  } catch (error) {
    if (age > LISTS_MAX_AGE_MS) throw error;
    update(apt);
    return action();
  }
}

/**
 * Downloads one package, checked against the archive's signature.
 *
 * @param {{suite: string, component?: string, name: string, version?: string, source?: boolean, dir: string}} what
 *   `suite` such as `trixie` or `bookworm-backports`; `source` fetches the source package's upstream tarball instead of
 *   the binary package; `version` in full, else the newest; the file goes into a directory of its own in `dir`. A
 *   version that is there already is not fetched again.
 * @returns {string} the path of the file
 */
export function downloadPackage({ suite, component = "main", name, version, source = false, dir }) {
  const wanted = version === undefined ? name : `${name}=${version}`;
  const words = source ? ["source", "--download-only", "--tar-only", wanted] : ["download", wanted];
  // A directory for each package, so that the one file in it is the package, whatever its name.
  const suffix = source ? "-source" : "";
  const place = join(resolve(dir), `${suite}-${wanted.replace(/[^\w.+~-]/g, "_")}${suffix}`);
  if (version !== undefined && existsSync(place)) return onlyFile(place);

  mkdirSync(resolve(dir), { recursive: true });
  const partial = mkdtempSync(`${place}.partial-`);
  try {
    const apt = aptRoot(suite, component, source);
    withLists(apt, () => runApt(apt, "apt-get", ["-qq", ...words], partial));
    rmSync(place, { recursive: true, force: true });
    renameSync(partial, place);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return onlyFile(place);
}

function onlyFile(dir) {
  const names = readdirSync(dir);
  if (names.length !== 1) throw new Error(`${dir}: expected one file, found ${names.length}`);
  return join(dir, names[0]);
}
