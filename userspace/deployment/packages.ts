/** The packages of an image, from its database. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBytes, toText } from "../../src/formats/bytestring.ts";
import { parseDpkgStatus } from "../../src/formats/dpkg-status.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { filesOf, type RegularContent } from "../../src/model/boot-resources.ts";
import { type Packages, packagesOf } from "../../src/model/package-diff.ts";
import type { Repository } from "../repository/repository.ts";
import { readContent } from "./image-content.ts";

const MAX_STATUS = 256 << 20;
const MAX_DATABASE = 2 ** 30;

/** Where dpkg's database is; images that keep `/var` empty have it below `/usr`. */
const DPKG = ["var/lib/dpkg", "usr/lib/sysimage/dpkg", "usr/share/dpkg"];
const RPM = ["usr/share/rpm", "usr/lib/sysimage/rpm", "var/lib/rpm"];
const RPM_FILES = /^(rpmdb\.sqlite|Packages\.db|Packages)$/;
const RPM_FORMAT = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}.%{ARCH}\\n";

/** All of them; `undefined` if the image has no database. Throws where it cannot be read. */
export function readPackages(repository: Repository, tree: Tree): Packages | undefined {
  return dpkgPackages(repository, tree) ?? rpmPackages(repository, tree);
}

function dpkgPackages(repository: Repository, tree: Tree): Packages | undefined {
  for (const path of DPKG) {
    const directory = path.split("/");
    const status = filesOf(tree, directory).filter(([name]) => name === "status");
    const parts = filesOf(tree, [...directory, "status.d"]).filter(
      ([name]) => !name.endsWith(".md5sums"),
    );
    if (status.length + parts.length === 0) continue;
    const list = [...status, ...parts].flatMap(([, content]) =>
      parseDpkgStatus(textOf(repository, content)),
    );
    return packagesOf(list);
  }
  return undefined;
}

function textOf(repository: Repository, content: RegularContent): string {
  const bytes = fromBytes(readContent(repository, content, MAX_STATUS));
  return toText(bytes) ?? bytes; // a description may be anything, names and versions are ASCII
}

/** rpm's database is read by rpm itself, from a copy. */
function rpmPackages(repository: Repository, tree: Tree): Packages | undefined {
  for (const path of RPM) {
    const files = filesOf(tree, path.split("/"));
    if (!files.some(([name]) => RPM_FILES.test(name))) continue;
    const directory = mkdtempSync(join(tmpdir(), "cfsboot-rpm-"));
    try {
      const database = join(directory, "db");
      mkdirSync(database);
      for (const [name, content] of files) {
        if (!/^[A-Za-z0-9._-]+$/.test(name)) continue;
        writeFileSync(join(database, name), readContent(repository, content, MAX_DATABASE));
      }
      return queryRpm(database);
    } finally {
      rmSync(directory, { recursive: true });
    }
  }
  return undefined;
}

function queryRpm(database: string): Packages {
  const args = ["--dbpath", database, "-qa", "--qf", RPM_FORMAT];
  const { error, status, stdout, stderr } = spawnSync("rpm", args, {
    encoding: "utf8",
    maxBuffer: MAX_STATUS,
  });
  if (error !== undefined) throw new Error("read the rpm database with rpm", { cause: error });
  if (status !== 0) throw new Error(`read the rpm database with rpm: ${stderr.trim()}`);
  const lines = stdout.split("\n").filter((line) => line !== "");
  return packagesOf(
    lines.map((line) => {
      const [name = "", version = ""] = line.split("\t");
      return { name, version };
    }),
  );
}
