/** bootc's whole command line, as of 1.16.9 and what is known of 1.17: nothing of it is met with silence or without a reason. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommanderError } from "commander";
import { afterEach, describe, expect, test, vi } from "vitest";
import { leaves } from "../../scripts/man/commands.ts";
import { BOOTC_COMMANDS, fromBootc } from "../../userspace/cli/bootc-commands.ts";
import { BOOTC_OPTIONS } from "../../userspace/cli/bootc-options.ts";
import { UsageError } from "../../userspace/cli/errors.ts";
import { loadProgram } from "../../userspace/cli/program.ts";
import { spawn } from "./on-machine.ts";

/** `works`: it is ours, too. `accepted`: nothing is lost without it. `told`: something is. `refused`: it cannot be. */
type Fate = "works" | "accepted" | "told" | "refused";
type Options = Readonly<Record<string, Fate>>;

const PROGRESS: Options = { "--quiet": "works", "--progress-fd 5": "works" };
const SOFT_REBOOT: Options = {
  "--soft-reboot required": "refused",
  "--soft-reboot auto": "refused",
};
const INSTALL: Options = {
  "--source-imgref docker://a/b": "works",
  "--target-imgref a/b": "works",
  "--target-transport registry": "works",
  "--target-no-signature-verification": "accepted",
  "--enforce-container-sigpolicy": "accepted", // and checked
  "--run-fetch-check": "told",
  "--skip-fetch-check": "accepted",
  "--experimental-unified-storage": "told",
  "--disable-selinux": "accepted", // stands for an argument
  "--karg a=1": "works",
  "--karg-delete a": "works",
  "--root-ssh-authorized-keys f": "works",
  "--generic-image": "works",
  "--bound-images skip": "accepted",
  "--bound-images stored": "told",
  "--bound-images pull": "told",
  "--stateroot default": "accepted",
  "--stateroot other": "told",
  "--bootupd-skip-boot-uuid": "told",
  "--bootloader grub": "works",
  "--bootloader systemd": "works",
  "--bootloader none": "works",
  "--bootloader grub-cc": "refused",
  "--composefs-backend": "accepted",
  "--composefs-backend --allow-missing-verity": "works",
  "--composefs-backend --uki-addon a": "refused",
};

/** By bootc's words, with the arguments that a command must have. */
const SURFACE: Readonly<Record<string, Options>> = {
  upgrade: {
    ...{ ...PROGRESS, ...SOFT_REBOOT },
    ...{ "--check": "works", "--apply": "works", "--download-only": "works" },
    ...{ "--from-downloaded": "works", "--tag 14": "works", "--from-delta f": "refused" },
  },
  update: { "--apply": "works", "--soft-reboot auto": "refused" },
  "switch a/b": {
    ...{ ...PROGRESS, ...SOFT_REBOOT },
    ...{ "--apply": "works", "--download-only": "works", "--target-imgref a/c": "works" },
    "--transport registry": "works",
    "--transport oci": "works",
    "--transport oci-archive": "works",
    "--transport docker-daemon": "works",
    "--transport containers-storage": "works",
    "--no-signature-verification": "accepted",
    "--enforce-container-sigpolicy": "accepted",
    "--mutate-in-place": "refused",
    "--retain": "told",
    "--experimental-unified-storage": "told",
    "--from-delta f": "refused",
  },
  rollback: { ...SOFT_REBOOT, "--apply": "works" },
  edit: { "--filename f": "works", "-f f": "works", "--quiet": "works" },
  status: {
    ...{ "--json": "works", "--booted": "works", "--verbose": "works", "-v": "works" },
    ...{ "--format json": "works", "--format yaml": "works", "--format humanreadable": "works" },
    ...{ "--format-version 0": "works", "--format-version 1": "works" },
  },
  "usr-overlay": { "--read-only": "works" },
  usroverlay: { "--read-only": "works" },
  "install to-disk /dev/x": {
    ...INSTALL,
    ...{ "--wipe": "works", "--via-loopback": "works", "--root-size 8192": "works" },
    ...{ "--block-setup direct": "works", "--block-setup tpm2-luks": "works" },
    ...{ "--filesystem xfs": "works", "--filesystem ext4": "works", "--filesystem btrfs": "works" },
  },
  "install to-filesystem /mnt": {
    ...INSTALL,
    ...{ "--root-mount-spec a": "works", "--boot-mount-spec a": "works" },
    ...{ "--replace alongside": "works", "--replace wipe": "refused" },
    ...{ "--acknowledge-destructive": "accepted", "--skip-finalize": "works" },
  },
  "install to-existing-root": {
    ...INSTALL,
    ...{ "--replace alongside": "accepted", "--replace wipe": "refused" },
    ...{ "--acknowledge-destructive": "accepted", "--cleanup": "told" },
  },
  "install reset": { "--experimental": "refused" },
  "install finalize /mnt": {},
  "install mount --sysroot /mnt /m": {
    ...{ "--latest": "works", "--esp /e": "works", "--read-only": "works" },
  },
  "install ensure-completion": { "": "refused" },
  "install print-configuration": { "": "works", "--all": "works" },
  "container inspect": {
    ...{ "--rootfs /mnt": "works", "--json": "works" },
    ...{ "--format json": "works", "--format yaml": "works", "--format humanreadable": "works" },
  },
  "container lint": {
    ...{ "--rootfs /mnt": "works", "--fatal-warnings": "works", "--list": "works" },
    ...{ "--skip utf8": "works", "--no-truncate": "works" },
  },
  "container compute-composefs-digest": {
    ...{ "": "works", "/target": "works", "--write-dumpfile-to f": "works" },
    "--erofs-version v2": "works",
  },
  "container compute-composefs-digest-from-storage": { "": "refused" },
  "container split-kernel-and-rootfs --output /o": { "": "works", "--rootfs /mnt": "works" },
  "container ukify": {
    ...{ "-- --output f": "works", "--rootfs /mnt": "works", "--karg a=1": "works" },
    ...{ "--allow-missing-verity": "works", "--write-dumpfile-to f": "works" },
    ...{ "--kernel-dir /k": "works", "--erofs-version v2": "works" },
  },
  "container export": { "/target": "refused" },
  "container aboot": { "": "refused" },
  "image list": {
    ...{ "": "works", "--type all": "accepted", "--type host": "accepted" },
    ...{ "--type logical": "refused", "--format table": "accepted", "--format json": "refused" },
  },
  "image copy-to-storage": { "": "refused", "--source a --target b": "refused" },
  "image set-unified": { "": "refused" },
  "image pull-from-default-storage": { a: "refused" },
  "image cmd": { list: "refused", "build .": "refused", "pull a": "refused", "push a": "refused" },
  "loader-entries set-options-for-source": { "--source tuned --options a": "refused" },
  "uki-addon": { list: "refused", "add a global": "refused", "remove a": "refused" },
  "exec-in-host-mount-namespace": { ls: "refused" },
  "state wipe-ostree": { "": "refused" },
  "composefs-finalize-staged": { "": "works", "--hold": "refused" },
  "config-diff": { "": "works" },
  "delete-deployment": { "0123456789ab": "works" },
  completion: { bash: "refused", zsh: "refused", fish: "refused" },
  internals: {
    ...{ "composefs-gc": "works", "composefs-gc --dry-run": "works", fsck: "works" },
    "composefs-gc --prune-repo": "accepted",
    "composefs-gc --assert-no-op": "refused",
    "prep-soft-reboot --reset": "refused",
    "cfs oci images": "refused",
    "dir-diff a b c --merge": "refused",
    ...{ "fsverity measure f": "refused", "fsverity enable f": "refused" },
    ...Object.fromEntries(
      [
        ...["systemd-generator a b c", "fixup-etc-fstab", "sysusers-sync", "cleanup", "reboot"],
        ...["print-json-schema --of host", "relabel /a", "relabel-overlay-mountpoints"],
        ...["ostree-ext a", "ostree-container a", "test-composefs", "publish-rhsm-facts"],
        ...["loopback-cleanup-helper --device a", "allocate-cleanup-loopback --file-path a"],
        ...["bootc-install-completion a b", "dump-cli-json", "blockdev ls /dev/x"],
        ...["blockdev ls-filesystem /", "uki extract a b"],
      ].map((words) => [words, "refused"] as const),
    ),
  },
};

afterEach(() => {
  vi.restoreAllMocks();
});

/** What becomes of a command line, before anything is done for it. */
async function fateOf(line: string) {
  const said: string[] = [];
  vi.spyOn(process.stderr, "write").mockImplementation((text) => said.push(`${text}`) > 0);
  const argv = line.split(" ").filter((word) => word !== "");
  try {
    const words = fromBootc(argv);
    const program = await loadProgram(words);
    let found: ReturnType<typeof leaves>[number] | undefined;
    for (const command of leaves(program)) {
      command.action(() => {
        found = command;
      });
      // what is checked before depends on this machine
      Object.assign(command, { _lifeCycleHooks: {} });
    }
    await program.parseAsync(words, { from: "user" });
    const silent = Object.values<readonly { readonly flags: string }[]>(BOOTC_OPTIONS)
      .flat()
      .map(({ flags }) => flags.split(" ")[0]);
    const theirs = found!.options.some(
      ({ long, description }) =>
        description === "for those used to bootc" &&
        silent.includes(long!) &&
        words.includes(long!),
    );
    const allowed = words.includes("--allow-missing-verity");
    return {
      fate: said.length > 0 ? "told" : theirs && !allowed ? "accepted" : "works",
      said: said.join(""),
    };
  } catch (error) {
    if (!(error instanceof UsageError) && !(error instanceof CommanderError)) throw error;
    const { message, hint } = error as Error & { hint?: string };
    return { fate: "refused", said: `${message}\n${hint ?? ""}` };
  }
}

describe.each(Object.entries(SURFACE))("%s", (command, options) => {
  const needed = /^install to-/.test(command) ? "--source-imgref docker://a/b" : "";

  test.each(Object.entries(options))("%s: %s", async (option, fate) => {
    const found = await fateOf(`${command} ${needed} ${option}`);
    expect(found).toMatchObject({ fate });
    if (fate === "told") {
      expect(found.said).toMatch(/^cfsboot: warning: --[a-z-]+ has no effect: .{20}.*\n$/);
    }
    // a reason and what to do, or which values there are
    if (fate === "refused") {
      expect(found.said).toMatch(/^[\w -]+: .{10}.*\n.{5}|Allowed choices|nothing is removed/);
    }
    if (fate === "refused") expect(found.said).not.toContain("unknown");
  });

  test("has nothing but itself", async () => {
    expect(await fateOf(`${command} ${needed} --no-such-option`)).toMatchObject({
      fate: "refused",
    });
  });
});

test("what is known of bootc's command line is in the list", () => {
  const lines = Object.entries(SURFACE).flatMap(([command, options]) =>
    Object.keys(options).map((option) => `${command} ${option}`),
  );
  const missing = [
    ...Object.keys(BOOTC_COMMANDS).filter((words) =>
      lines.every((line) => !`${line} `.startsWith(`${words} `)),
    ),
    ...Object.entries<readonly { readonly flags: string }[]>(BOOTC_OPTIONS).flatMap(
      ([command, options]) =>
        options
          .map(({ flags }) => flags.split(" ")[0]!)
          .filter((option) =>
            lines.every(
              (line) => !(fromBootcOr(line).startsWith(command) && line.includes(option)),
            ),
          ),
    ),
  ];
  expect(missing).toEqual([]);
});

function fromBootcOr(line: string): string {
  try {
    return fromBootc(line.split(" ")).join(" ");
  } catch {
    return line;
  }
}

describe("as a person meets it", () => {
  test("what cannot be is wrong usage, with what to do", () => {
    expect(spawn("install", "reset", "--experimental")).toEqual({
      status: 2,
      stdout: "",
      stderr: expect.stringMatching(/^cfsboot: error: install reset: .*\nhint: .*cfsboot etc diff/),
    });
    expect(spawn("upgrade", "--soft-reboot=auto")).toEqual({
      status: 2,
      stdout: "",
      stderr: expect.stringMatching(/^cfsboot: error: --soft-reboot: .*\nhint: --apply/),
    });
  });

  test("neither options nor commands of this kind are in the help", () => {
    const { stdout } = spawn("switch", "--help");
    expect(stdout).toContain("--transport");
    expect(stdout).not.toMatch(/--retain|--soft-reboot|--mutate/);
    expect(spawn("--help").stdout).not.toMatch(/config-diff|internals/);
  });

  test("--disable-selinux is a kernel argument, before and after others", async () => {
    for (const args of ["--karg a --disable-selinux", "--disable-selinux --karg a"]) {
      const words = `install to-disk --source-imgref oci:x --dry-run x ${args}`.split(" ");
      const program = await loadProgram(words);
      const command = leaves(program).find((one) => one.name() === "to-disk")!;
      command.action(() => {});
      await program.parseAsync(words, { from: "user" });
      expect(new Set(command.getOptionValue("karg"))).toEqual(new Set(["a", "selinux=0"]));
    }
  });

  test("--enforce-container-sigpolicy wants a policy that does", () => {
    const home = mkdtempSync(join(tmpdir(), "cfsboot-policy-"));
    try {
      const policy = (type: string) => {
        mkdirSync(join(home, ".config/containers"), { recursive: true });
        const file = join(home, ".config/containers/policy.json");
        writeFileSync(file, JSON.stringify({ default: [{ type }] }));
      };
      vi.stubEnv("HOME", home);
      const options = ["--enforce-container-sigpolicy", "--sysroot", join(home, "none")];
      policy("insecureAcceptAnything");
      const refused = spawn("switch", "a/b", ...options);
      expect(refused).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/wants a policy .*policy.json has none\nhint: containers-p/),
      });
      policy("reject");
      expect(spawn("switch", "a/b", ...options).stderr).not.toContain("wants a policy");
    } finally {
      vi.unstubAllEnvs();
      rmSync(home, { recursive: true });
    }
  });

  test("install print-configuration has bootc's keys", () => {
    const { status, stdout } = spawn("install", "print-configuration");
    expect(status).toBe(0);
    expect(Object.keys(JSON.parse(stdout))).toEqual([
      ...["bootloader", "discoverable-partitions", "filesystem"],
      ...["root-fs-type", "root-mount-spec"],
    ]);
  });
});
