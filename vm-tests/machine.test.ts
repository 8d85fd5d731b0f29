/** A machine that boots by UEFI, and by systemd-boot or by GRUB, updates itself over the network, and goes back. */
import { expect, test } from "vitest";
import { FOLLOWED } from "./harness/install.ts";
import {
  expectDone,
  FAILED,
  judged,
  needRoot,
  RELEASE,
  ROOT,
  release,
  SHUTDOWN,
  STATUS,
  statusOf,
} from "./harness/life.ts";
import { newMachine } from "./harness/machine.ts";
import { answer } from "./harness/observations.ts";

const ETC = "head -n1 /etc/app.conf /etc/edited.conf /etc/local.conf /etc/new.conf 2>/dev/null";

test.for(["systemd", "grub"] as const)(
  "a machine with %s updates itself over the network, keeps its changes, and goes back",
  async (loader, context) => {
    needRoot(context);
    await using machine = await newMachine(`machine ${loader}`, { loader });
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
      entries: `ls ${machine.entries}; cat ${machine.entries}/*.conf`,
      late: "echo 'after staging' > /etc/local.conf",
      failed: FAILED,
    });
    expectDone(first, "seal", "configure", "edit", "check", "upgrade");
    expect(statusOf(first).status).toMatchObject({
      booted: { image: { image: { image: FOLLOWED } }, composefs: { bootloader: loader } },
      staged: null,
      rollback: null,
    });
    expect(answer(first, "check")).toMatch("To be fetched: 1 of 4 layers");
    expect(statusOf(first, "staged").status.staged).toMatchObject({ image: { version: "2" } });
    expect(answer(first, "entries")).toMatch(
      /^bootc_debian-13-0\.conf\n[\s\S]* composefs=[0-9a-f]{128}/,
    );
    expect(answer(first, "failed")).toBe("");

    const second = await machine.boot({
      root: ROOT,
      release: RELEASE,
      etc: ETC,
      var: "cat /var/lib/kept",
      status: STATUS,
      judged: judged(machine),
      failed: FAILED,
      shutdown: SHUTDOWN,
      rollback: "cfsboot rollback",
    });
    expect(answer(second, "root")).toMatch("verity=require");
    expect(answer(second, "release")).toBe("2");
    expect(answer(second, "etc").split("\n").filter(Boolean)).toEqual([
      ...["==> /etc/app.conf <==", "two", "==> /etc/edited.conf <==", "mine"],
      ...["==> /etc/local.conf <==", "after staging", "==> /etc/new.conf <==", "new"],
    ]);
    expect(answer(second, "var")).toBe("kept");
    expect(statusOf(second).status).toMatchObject({
      booted: { image: { version: "2" } },
      staged: null,
      rollback: { image: { image: { image: FOLLOWED } } },
    });
    expect(answer(second, "judged").split("\n")).toEqual([
      "bootc_debian-13-0.conf",
      "bootc_debian-13-1.conf",
      ...(loader === "grub" ? ["cfsboot.cfg"] : []),
    ]);
    expect(answer(second, "failed")).toBe("");
    expect(answer(second, "shutdown")).toBe("");
    expectDone(second, "judged", "rollback");

    const third = await machine.boot({
      root: ROOT,
      release: RELEASE,
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
    expect(statusOf(third).status).toMatchObject({
      staged: null,
      rollback: { image: { version: "2" } },
    });
  },
);
