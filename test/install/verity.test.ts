/** Installing where there is no fs-verity: in a mount namespace of its own, which only root may make. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { osLayer } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

/** A root on which there can be no fs-verity: tmpfs has none. `$0` is its place, `$@` the command. */
const SCRIPT = `
mount -t tmpfs none "$0" && mkdir "$0/efi" && mount -t tmpfs none "$0/efi" || exit 77
"$@"; status=$?; ls -A "$0"; exit $status
`;

test.for([{ more: [] }, { more: ["--dry-run"] }])(
  "a root without fs-verity is refused before anything is fetched, with what to do: $more (bootc#1805)",
  ({ more }, ctx) => {
    const directory = mkdtempSync(join(tmpdir(), "cfsboot-install-"));
    try {
      const [layout, root] = [join(directory, "layout"), join(directory, "root")];
      for (const path of [layout, root]) mkdirSync(path);
      const tar = osLayer({ version: "13" });
      writeLayout(layout, [{ image: image([{ tar, compression: "none" }]), tag: "os" }]);
      const command = [process.execPath, CFSBOOT, "install", "to-filesystem", root];
      const options = ["--source-imgref", `oci:${layout}:os`, "--root-mount-spec", "LABEL=x"];
      const { status, stdout, stderr } = spawnSync(
        "unshare",
        [
          "--mount",
          "sh",
          "-c",
          SCRIPT,
          root,
          ...command,
          ...options,
          "--esp",
          `${root}/efi`,
          ...more,
        ],
        { encoding: "utf8" },
      );
      if (status === 77 || /^unshare/.test(stderr)) ctx.skip("no mount namespace can be made here");
      expect({ status, stderr }).toEqual({
        status: 1,
        stderr: expect.stringMatching(
          /has no fs-verity\nhint: .*--allow-missing-verity does without/,
        ),
      });
      expect(stdout).toBe("efi\n"); // nothing else is there
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
);
