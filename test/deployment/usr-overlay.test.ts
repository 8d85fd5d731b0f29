import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isRefused } from "../../src/linux/fs-context.ts";
import { mountUsrOverlay, readUsrOverlay } from "../../userspace/deployment/usr-overlay.ts";
import { linux } from "../../userspace/linux.ts";

test.for([false, true])("read-only: %j", (readOnly, ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  const directory = mkdtempSync(join(tmpdir(), "cfsboot-usr-"));
  const usr = join(directory, "usr");
  mkdirSync(usr, { mode: 0o711 });
  writeFileSync(join(usr, "old"), "old");
  try {
    expect(readUsrOverlay(linux, usr)).toBe(undefined);
    try {
      mountUsrOverlay(linux, readOnly, usr);
    } catch (error) {
      if (isRefused(error, "EPERM")) return ctx.skip("this container may not mount");
      throw error;
    }
    try {
      expect(readUsrOverlay(linux, usr)).toEqual({
        accessMode: readOnly ? "readOnly" : "readWrite",
        persistence: "transient",
      });
      expect(() => mountUsrOverlay(linux, readOnly, usr)).toThrow("already mounted");
      expect(readFileSync(join(usr, "old"), "utf8")).toBe("old");
      const write = () => writeFileSync(join(usr, "new"), "new");
      if (readOnly) expect(write).toThrow("EROFS");
      else write();
    } finally {
      spawnSync("umount", [usr]);
    }
    expect(readdirSync(usr)).toEqual(["old"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
