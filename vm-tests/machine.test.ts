/** The life of a machine that boots by UEFI and systemd-boot, and updates itself over the network. */
import { expect, type TestContext, test } from "vitest";
import type { TarFile } from "../test/oci/fixtures/images.ts";
import { FOLLOWED } from "./harness/install.ts";
import { newMachine } from "./harness/machine.ts";
import { answer } from "./harness/observations.ts";
import { type Booted, plain } from "./harness/qemu.ts";

const release = (number: string): TarFile => ({ path: "usr/share/release", data: `${number}\n` });

const ENTRIES = "ls /boot/loader/entries";
const STATUS = "cfsboot status --json";
const ETC = "head -n1 /etc/app.conf /etc/edited.conf /etc/local.conf /etc/new.conf 2>/dev/null";

interface Status {
  readonly status: Record<
    "booted" | "staged" | "rollback",
    {
      readonly image: { readonly image: { readonly image: string }; readonly version?: string };
    } | null
  >;
}

function statusOf(booted: Booted, name = "status"): Status["status"] {
  const { status, output } = booted.answers[name]!;
  expect(status, output).toBe(0);
  return (JSON.parse(output) as Status).status;
}

function expectDone(booted: Booted, ...names: string[]): void {
  for (const name of names) {
    const { status, output } = booted.answers[name]!;
    expect(status, `${name}: ${output}`).toBe(0);
  }
}

function needRoot(context: TestContext): void {
  if (process.geteuid?.() !== 0) context.skip("not root: the owners in /etc cannot be made");
}

/** Waits until the boot has been judged, and tells how. */
const JUDGED = `for i in $(seq 120); do systemctl show -P ActiveState cfsboot-boot-complete | grep -qE '^(active|failed)' && break; sleep 1; done; ${ENTRIES}`;
const FAILED =
  "systemctl --failed --plain --no-legend && ! journalctl --boot --quiet --priority=err --unit='cfsboot*' | grep .";

test("a machine updates itself over the network, keeps its changes, and goes back", async (context) => {
  needRoot(context);
  await using machine = await newMachine("machine");
  machine.publish("2", [
    release("2"),
    { path: "etc/app.conf", data: "two\n" },
    { path: "etc/new.conf", data: "new\n" },
  ]);
  const first = await machine.boot({
    ...machine.beginning,
    status: STATUS,
    edit: [
      "echo mine > /etc/edited.conf",
      "echo local > /etc/local.conf",
      "echo kept > /var/lib/kept",
    ].join(" && "),
    check: "cfsboot upgrade --check",
    upgrade: "cfsboot upgrade",
    staged: STATUS,
    entries: `${ENTRIES}; cat /boot/loader/entries/*.conf`,
    late: "echo 'after staging' > /etc/local.conf",
    failed: FAILED,
  });
  expectDone(first, "seal", "configure", "edit", "check", "upgrade");
  expect(statusOf(first)).toMatchObject({
    booted: { image: { image: { image: FOLLOWED } } },
    staged: null,
    rollback: null,
  });
  expect(answer(first, "check")).toMatch("To be fetched: 1 of 4 layers");
  expect(statusOf(first, "staged").staged).toMatchObject({ image: { version: "2" } });
  expect(answer(first, "entries")).toMatch(
    /^bootc_debian-13-0\.conf\n[\s\S]* composefs=[0-9a-f]{128}/,
  );
  expect(answer(first, "failed")).toBe("");

  const second = await machine.boot({
    root: "findmnt -no SOURCE,OPTIONS /",
    release: "cat /usr/share/release",
    etc: ETC,
    var: "cat /var/lib/kept",
    status: STATUS,
    judged: JUDGED,
    failed: FAILED,
    rollback: "cfsboot rollback",
  });
  expect(answer(second, "root")).toMatch("verity=require");
  expect(answer(second, "release")).toBe("2");
  expect(answer(second, "etc").split("\n").filter(Boolean)).toEqual([
    ...["==> /etc/app.conf <==", "two", "==> /etc/edited.conf <==", "mine"],
    ...["==> /etc/local.conf <==", "after staging", "==> /etc/new.conf <==", "new"],
  ]);
  expect(answer(second, "var")).toBe("kept");
  expect(statusOf(second)).toMatchObject({
    booted: { image: { version: "2" } },
    staged: null,
    rollback: { image: { image: { image: FOLLOWED } } },
  });
  expect(answer(second, "judged").split("\n")).toEqual([
    "bootc_debian-13-0.conf",
    "bootc_debian-13-1.conf",
  ]);
  expect(answer(second, "failed")).toBe("");
  expectDone(second, "rollback");

  const third = await machine.boot({
    root: "findmnt -no SOURCE,OPTIONS /",
    release: "ls /usr/share/release",
    etc: ETC,
    var: "cat /var/lib/kept",
    status: STATUS,
  });
  expect(answer(third, "root")).toMatch("verity=require");
  expect(answer(third, "release")).toMatch("No such file");
  expect(answer(third, "etc").split("\n").filter(Boolean)).toEqual([
    ...["==> /etc/app.conf <==", "one", "==> /etc/edited.conf <==", "mine"],
    ...["==> /etc/local.conf <==", "after staging"],
  ]);
  expect(answer(third, "var")).toBe("kept");
  expect(statusOf(third)).toMatchObject({ staged: null, rollback: { image: { version: "2" } } });
});

test("an update that panics is left after three tries, and told of", async (context) => {
  if (process.env.CFSBOOT_ALL_TESTS === undefined) context.skip("takes long: npm run test:vm");
  needRoot(context);
  await using machine = await newMachine("panic");
  machine.publish("2", [
    release("2"),
    { path: "usr/lib/bootc/" },
    { path: "usr/lib/bootc/kargs.d/" },
    // nothing then finds the root
    { path: "usr/lib/bootc/kargs.d/broken.toml", data: 'kargs = ["rdinit=/no-such-program"]\n' },
  ]);
  const first = await machine.boot({ ...machine.beginning, upgrade: "cfsboot upgrade" });
  expectDone(first, "seal", "configure", "upgrade");
  for (let tries = 0; tries < 3; tries++) {
    expect(plain((await machine.boot()).console)).toMatch("Kernel panic");
  }
  const last = await machine.boot({
    release: "ls /usr/share/release",
    entries: ENTRIES,
    told: "cfsboot status",
    judged: `${JUDGED}; systemctl --failed --plain --no-legend`,
  });
  expect(answer(last, "release")).toMatch("No such file");
  expect(answer(last, "entries").split("\n")).toEqual([
    "bootc_debian-13-0.conf",
    "bootc_debian-13-1+0-3.conf",
  ]);
  expect(answer(last, "told")).toMatch("did not come up, tried 3 times");
  expect(answer(last, "judged")).toMatch("cfsboot-boot-complete.service");
});
