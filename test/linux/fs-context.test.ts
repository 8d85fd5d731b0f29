import { describe, expect, test } from "vitest";
import { createMount, isRefused } from "../../src/linux/fs-context.ts";
import { type Linux, LinuxError } from "../../src/linux/linux.ts";
import { mountOverlay } from "../../src/linux/overlay.ts";
import { linux } from "../../userspace/linux.ts";

/** A kernel without anything behind it: a context with these messages, which refuses the named keys. */
function fake(refuse: Readonly<Record<string, string>>, messages: string[] = []): Linux {
  const refusal = (key: string, syscall: string) => {
    const code = refuse[key];
    if (code !== undefined) throw new LinuxError(1, code, `it is ${code}`, syscall, key);
  };
  return {
    ...linux,
    fsopen: (fsname) => {
      refusal(fsname, "fsopen");
      return 1000;
    },
    fsconfig: (_fd, _command, key) => refusal(key ?? "create", "fsconfig"),
    fsmount: () => 1001,
    read: (_fd, buffer) => {
      const next = messages.shift();
      if (next === undefined) throw new LinuxError(61, "ENODATA", "", "read", "");
      return new TextEncoder().encodeInto(next, buffer).written;
    },
    close: () => {},
  };
}

function failure(act: () => unknown): Error & { hint?: string } {
  try {
    act();
  } catch (error) {
    return error as Error;
  }
  throw new Error("no error");
}

describe("createMount", () => {
  test("the kernel's own words are part of the error", () => {
    const kernel = fake({ create: "EINVAL" }, ["w overlay: old\n", "e overlay: bad layer\n"]);
    const error = failure(() => createMount(kernel, "overlay", [["source", "x"]], 0));
    expect(error.message).toBe("overlay: kernel: overlay: old; overlay: bad layer");
    expect((error.cause as Error).message).toBe("fsconfig create: it is EINVAL");
    expect(isRefused(error, "EINVAL")).toBe(true);
    expect(isRefused(error, "EIO")).toBe(false);
  });

  test("without them, the step", () => {
    const error = failure(() => createMount(fake({ a: "EBADF" }), "erofs", [["a", true]], 0));
    expect(error.message).toBe("erofs: set a");
  });

  test("what this kernel says of an option that it does not know", (ctx) => {
    ctx.skip(process.getuid?.() !== 0, "needs root");
    const error = failure(() => createMount(linux, "tmpfs", [["nonesuch", true]], 0));
    expect(error.message).toMatch(/^tmpfs: kernel: tmpfs: .*nonesuch/);
  });
});

describe("mountOverlay", () => {
  const mount = (kernel: Linux, attached: string[] = []) =>
    mountOverlay(kernel, {
      source: "x",
      lower: 5,
      data: [6],
      readOnly: true,
      way: "auto",
      attachLayers: () => attached.push("layers"),
    });

  test("by descriptors where the kernel can, and then nothing is attached", () => {
    const attached: string[] = [];
    expect(mount(fake({}), attached).way).toBe("fds");
    expect(attached).toEqual([]);
  });

  test("by paths where it cannot", () => {
    const attached: string[] = [];
    expect(mount(fake({ "lowerdir+": "EBADF", unsupported: "EINVAL" }), attached).way).toBe(
      "paths",
    );
    expect(attached).not.toEqual([]);
  });

  test("a kernel that is too old, or has no overlayfs, is told so", () => {
    const old = failure(() => mount(fake({ create: "EINVAL" })));
    expect(old.message).toBe("this kernel's overlayfs has no data-only layers");
    expect(old.hint).toBe("boot Linux 6.6 or newer (6.12 is tested)");
    const none = failure(() => mount(fake({ overlay: "ENODEV" })));
    expect(none.message).toBe("this kernel has no overlayfs");
  });

  test("an error that is no question of ability is not tried again", () => {
    const attached: string[] = [];
    const error = failure(() => mount(fake({ create: "EIO" }), attached));
    expect(isRefused(error, "EIO")).toBe(true);
    expect(attached).toEqual([]);
  });
});
