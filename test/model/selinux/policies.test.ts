/** Whole policies: Debian's, and one in the manner of Fedora's; against trying line after line. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ByteString, fromBytes, fromText } from "../../../src/formats/bytestring.ts";
import { type FileType, parseFileContexts } from "../../../src/formats/file-contexts.ts";
import { Labels } from "../../../src/model/selinux/labels.ts";
import { dir, file } from "../entries.ts";
import { debianPolicy } from "./debian-policy.ts";
import { labelled, labels } from "./policy.ts";

const lastMatch = fileURLToPath(new URL("last-match.py", import.meta.url));
let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "cfsboot-selinux-"));
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** Which line of a policy counts for each key, by our `Labels`; from 1, 0 for none. */
function ourLines(contexts: string, keys: readonly ByteString[]): number[] {
  const lines = parseFileContexts(new Uint8Array(Buffer.from(contexts)), "fc").map((line) => ({
    ...line,
    context: line.place.slice("fc:".length) as ByteString,
  }));
  const policy = new Labels(lines);
  return keys.map((key) => {
    // The way that a walk takes.
    let place = policy.root();
    for (const name of key.slice(1, -1).split("/")) {
      if (name !== "") place = policy.entry(place, name as ByteString);
    }
    const label = policy.label(place, key.slice(-1) as FileType);
    return label === undefined ? 0 : Number(fromBytes(label));
  });
}

/** The same by Python, one line after the other. */
function expectedLines(contexts: string, keys: readonly ByteString[]): number[] {
  const [policy, list] = [join(scratch, "file_contexts"), join(scratch, "keys")];
  writeFileSync(policy, contexts);
  writeFileSync(list, Buffer.from(keys.join("\n"), "latin1"));
  const output = execFileSync("python3", ["-W", "ignore", lastMatch, policy, list], {
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  return output.trim().split("\n").map(Number);
}

/** Paths that patterns are about, and some that are a little different, with a type each. */
function keysFrom(contexts: string, count: number): ByteString[] {
  let seed = 1;
  const pick = <T>(choices: ArrayLike<T>): T => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return choices[(seed >>> 8) % choices.length]!;
  };
  const regexes = contexts
    .split("\n")
    .flatMap((line) => (/^\s*[^#\s]/.test(line) ? [line.split(/\s/)[0]!] : []));
  return Array.from({ length: count }, () => {
    let path = pick(regexes)
      .replace(/\(\/\.[*+]\)\??/g, () => pick(["", "/x", "/a/b"]))
      .replace(/\[[^\]]*\][*+?]?/g, () => pick(["", "a", "7", "-"]))
      .replace(/\(([^()|]*)[^()]*\)[*+?]?/g, (_, first: string) => pick(["", first]))
      .replace(/(^|[^\\])\.[*+?]?/g, (_, before: string) => before + pick(["", "z", "lib/y", "."]))
      .replace(/\\|[*+?]/g, "");
    if (pick("yes no maybe".split(" ")) === "yes") {
      const cut = Math.floor(path.length / pick([1, 2, 3, 5]));
      path = path.slice(0, cut) + pick(["", "x", "/", "0", "é"]) + path.slice(cut + pick([0, 1]));
    }
    // A path of names, as a walk makes them.
    const names = path.split("/").filter((name) => name !== "");
    return fromText(`/${names.join("/")}${pick("bcdpls-")}`);
  });
}

describe("Debian's policy", () => {
  const policy = debianPolicy();
  const skip = "missing" in policy ? policy.missing : undefined;
  const read = (suffix: string) =>
    "dir" in policy ? readFileSync(join(policy.dir, `file_contexts${suffix}`), "utf8") : "";

  test("labels what everybody knows", (ctx) => {
    ctx.skip(skip !== undefined, skip);
    const tree = labelled(
      { "": read(""), ".homedirs": read(".homedirs"), ".subs_dist": read(".subs_dist") },
      [
        ...[
          "usr",
          "usr/bin",
          "usr/lib",
          "usr/lib/x86_64-linux-gnu",
          "usr/lib64",
          "var",
          "var/log",
        ].map((path) => dir(path)),
        ...["home", "home/me", "home/me/.ssh", "lib"].map((path) => dir(path)),
        file("etc/shadow"),
        file("etc/passwd"),
        file("etc/hostname"),
        file("usr/bin/bash"),
        file("usr/bin/true"),
        file("usr/lib/x86_64-linux-gnu/libc.so.6"),
        file("usr/lib64/libc.so.6"),
        file("lib/libc.so.6"),
        file("home/me/.ssh/config"),
        file("home/me/letter"),
      ],
    );
    const types = Object.entries(
      labels(
        tree,
        ...["/", "/usr", "/usr/bin", "/usr/bin/bash", "/usr/bin/true", "/var/log", "/home"],
        ...["/etc", "/etc/shadow", "/etc/hostname", "/usr/lib/x86_64-linux-gnu/libc.so.6"],
        ...[
          "/usr/lib64/libc.so.6",
          "/lib/libc.so.6",
          "/home/me",
          "/home/me/.ssh/config",
          "/home/me/letter",
        ],
      ),
    ).map(([path, label]) => [path, label?.split(":")[2]]);
    expect(Object.fromEntries(types)).toEqual({
      "/": "root_t",
      "/usr": "usr_t",
      "/usr/bin": "bin_t",
      "/usr/bin/bash": "shell_exec_t",
      "/usr/bin/true": "bin_t",
      "/var/log": "var_log_t",
      "/home": "home_root_t",
      "/etc": "etc_t",
      "/etc/shadow": "shadow_t",
      "/etc/hostname": "net_conf_t",
      "/usr/lib/x86_64-linux-gnu/libc.so.6": "lib_t",
      "/usr/lib64/libc.so.6": "lib_t",
      "/lib/libc.so.6": "lib_t",
      "/home/me": "user_home_dir_t",
      "/home/me/.ssh/config": "ssh_home_t",
      "/home/me/letter": "user_home_t",
    });
  });

  test("each path gets the label of the last line that matches", (ctx) => {
    ctx.skip(skip !== undefined, skip);
    const contexts = `${read("")}${read(".homedirs")}`;
    const keys = keysFrom(contexts, 3000);
    const expected = expectedLines(contexts, keys);
    expect(ourLines(contexts, keys)).toEqual(expected);
    // The paths are about many lines, not only about "/.*".
    expect(new Set(expected).size).toBeGreaterThan(500);
  });
});

/** Written for this test, with the constructs that Fedora's has. */
const FEDORA_STYLE = `
/.*		system_u:object_r:default_t:s0
/[^/]+	--	system_u:object_r:etc_runtime_t:s0
/a?quota\\.(user|group)	--	system_u:object_r:quota_db_t:s0
/dev/.*	<<none>>
/sys(/.*)?	<<none>>
/etc/.*	system_u:object_r:etc_t:s0
/usr/.*	system_u:object_r:usr_t:s0
/usr/(.*/)?bin(/.*)?	system_u:object_r:bin_t:s0
/usr/(.*/)?lib(/.*)?	system_u:object_r:lib_t:s0
/usr/lib/(.*/)?[^/]*\\.so(\\.[^/]*)*	--	system_u:object_r:lib_t:s0
/usr/lib/(sse2/)?libx264\\.so(\\.[^/]*)*	--	system_u:object_r:textrel_shlib_t:s0
/usr/lib/jvm/java(.*/)bin(/.*)?	system_u:object_r:bin_t:s0
/usr/(.*/)?bin/java[^-]*	--	system_u:object_r:java_exec_t:s0
/usr/lib/systemd/systemd-([a-z0-9-]+)	--	system_u:object_r:init_exec_t:s0
/usr/lib/modules/[^/]+/kernel(/.*)?	system_u:object_r:modules_object_t:s0
/var/log(/.*)?	system_u:object_r:var_log_t:s0
/var/log/[^/]+\\.log\\.?[0-9]*	--	system_u:object_r:old_log_t:s0
/var/lib/pgsql/(8\\.[0-9]|9\\.[0-9]|[1-9][0-9])/data(/.*)?	system_u:object_r:db_t:s0
/dev/[shmxv]d[^/]*	-b	system_u:object_r:fixed_disk_device_t:s0
/dev/(misc/)?rtc[0-9]*	-c	system_u:object_r:clock_device_t:s0
/dev/n?osst[0-3].*	-c	system_u:object_r:tape_device_t:s0
/dev/hfi1_[0-9]+	-c	system_u:object_r:device_t:s0
/dev/shm/mono.*	--	system_u:object_r:mono_tmp_t:s0
/dev/ttyUSB(0|1[0-9]?|2)	-c	system_u:object_r:usbtty_device_t:s0
/run/user/[0-9]{1,5}(/.*)?	system_u:object_r:user_tmp_t:s0
/run/user/%{USERID}/bus	-s	system_u:object_r:session_bus_t:s0
/etc/(?!(shadow|gshadow)(-|$)).*_key	--	system_u:object_r:key_t:s0
/etc/[[:alpha:]_-]+\\.d(/.*)?	system_u:object_r:drop_in_t:s0
/etc/httpd/.*\\.(?:conf|pem)	--	system_u:object_r:httpd_config_t:s0
/usr/share/x\\+\\+/.{2,}	system_u:object_r:plus_t:s0
`;

describe("a policy in the manner of Fedora's", () => {
  test("each path gets the label of the last line that matches", () => {
    const keys = keysFrom(FEDORA_STYLE.replaceAll(/\(\?!.*?\)\)|\(\?:/g, "("), 2000);
    // Python has no POSIX classes, and takes the braces of %{USERID} for themselves too.
    const expected = expectedLines(FEDORA_STYLE.replace("[:alpha:]", "A-Za-z"), keys);
    expect(ourLines(FEDORA_STYLE, keys)).toEqual(expected);
    expect(new Set(expected).size).toBeGreaterThan(20);
  });

  test.each([
    ["/usr/lib/jvm/java-21/bin/keytool-", 13],
    ["/usr/lib/jvm/java-21/bin/javac-", 14],
    ["/usr/lib/sse2/libx264.so.164-", 12],
    ["/run/user/%{USERID}/buss", 27],
    ["/run/user/1000/buss", 26],
    ["/etc/ssh_host_key-", 28],
    ["/etc/shadow-_key-", 7],
    ["/etc/modules-load.d/x.conf-", 29],
    ["/dev/rtc0c", 21],
    ["/dev/rtc0-", 5],
    ["/sysd", 6],
    ["/.autorelabel-", 3],
    ["/.autorelabeld", 2],
  ])("%s is of line %i", (key, line) => {
    expect(ourLines(FEDORA_STYLE, [key as ByteString])).toEqual([line]);
  });
});
