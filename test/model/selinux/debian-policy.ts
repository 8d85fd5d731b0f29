/** The policy of Debian 13's `selinux-policy-default`, as installing the package makes it. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { downloadPackage } from "../../../scripts/debian-packages.mjs";

const VERSION = "2:2.20250213-13~deb13u1";
const packages = fileURLToPath(new URL("../../../.cache/packages", import.meta.url));
const script = fileURLToPath(new URL("debian-policy.py", import.meta.url));

/** A directory with `file_contexts` and its companions, or why there is none. */
export function debianPolicy(): { readonly dir: string } | { readonly missing: string } {
  if (spawnSync("python3", ["--version"]).status !== 0)
    return { missing: "python3 is not installed" };
  let deb: string;
  try {
    deb = download();
  } catch (error) {
    return { missing: `no selinux-policy-default: ${(error as Error).message.split("\n")[0]}` };
  }
  const dir = join(dirname(deb), "..", "selinux-policy-default-contexts");
  if (!existsSync(dir)) {
    const partial = `${dir}.${process.pid}`;
    execFileSync("python3", [script, deb, partial]);
    try {
      renameSync(partial, dir);
    } catch (error) {
      // Somebody else was first.
      rmSync(partial, { recursive: true });
      if (!existsSync(dir)) throw error;
    }
  }
  return { dir };
}

function download(): string {
  const wanted = { suite: "trixie", name: "selinux-policy-default", dir: packages };
  try {
    return downloadPackage({ ...wanted, version: VERSION });
  } catch {
    // The archive has moved on.
    return downloadPackage(wanted);
  }
}
