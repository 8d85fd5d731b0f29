import { describe, expect, test } from "vitest";
import { ascii, toBytes } from "../../src/formats/bytestring.ts";
import { transformForBoot, transformForOci } from "../../src/model/transform.ts";
import type { Tree } from "../../src/model/tree.ts";
import { at, dir, file, link, merge, paths, type StatFields, symlink, xattrs } from "./entries.ts";

const USR: StatFields = {
  mode: 0o751,
  uid: 1,
  gid: 2,
  mtimeSec: 100n,
  mtimeNsec: 250,
  xattrs: xattrs({ "user.x": "usr", "security.capability": "c" }),
};

const image = () => [
  dir("usr", USR),
  dir("run", { mode: 0o700, uid: 7, mtimeSec: 5n, mtimeNsec: 6 }),
  dir("run/lock"),
  file("run/secret"),
  link("usr/same", "run/secret"),
];

describe("transformForOci", () => {
  test("the root is like /usr", () => {
    const tree = merge([dir("/", { mode: 0o777 }), ...image()]);
    transformForOci(tree);
    expect(tree.stat).toEqual({ ...USR, xattrs: xattrs({ "security.capability": "c" }) });
    // But it is not the same: a later change of one is none of the other.
    expect(tree.stat).not.toBe(at(tree, "usr").stat);
    expect(tree.stat.xattrs).not.toBe(at(tree, "usr").stat.xattrs);
  });

  test("/run is empty, as old as /usr, and else as it was", () => {
    const tree = merge(image());
    transformForOci(tree);
    expect(paths(tree)).toEqual(["/", "/run", "/usr", "/usr/same"]);
    expect(at(tree, "run").stat).toMatchObject({
      mode: 0o700,
      uid: 7,
      mtimeSec: 100n,
      mtimeNsec: 250,
    });
  });

  test("there need not be a /run", () => {
    const tree = merge([dir("usr")]);
    transformForOci(tree);
    expect(paths(tree)).toEqual(["/", "/usr"]);
  });

  test("/usr must be a directory, and /run if it is there", () => {
    expect(() => transformForOci(merge([dir("etc")]))).toThrow("/usr does not exist");
    expect(() => transformForOci(merge([symlink("usr", "x")]))).toThrow("/usr is not a directory");
    expect(() => transformForOci(merge([dir("usr"), symlink("run", "x")]))).toThrow(
      "/run is not a directory",
    );
  });

  test("extended attributes are filtered, on every kind of inode", () => {
    const all = () =>
      xattrs({
        "security.capability": "c",
        "security.selinux": "s",
        "security.ima": "i",
        "user.a": "u",
        user: "no prefix",
        "trusted.overlay.opaque": "y",
        "system.posix_acl_access": "a",
      });
    const stat = () => ({ xattrs: all() });
    const make = () =>
      merge([dir("usr", stat()), file("usr/f", "", stat()), link("g", "usr/f"), dir("d", stat())]);
    const names = (tree: Tree) =>
      ["", "usr", "usr/f", "g", "d"].map((path) => [...at(tree, path).stat.xattrs.keys()]);

    const strict = make();
    transformForOci(strict);
    expect(names(strict)).toEqual(Array(5).fill(["security.capability"]));
    const user = make();
    transformForOci(user, "keep-user-xattrs");
    expect(names(user)).toEqual(Array(5).fill(["security.capability", "user.a"]));
  });
});

describe("transformForBoot", () => {
  const read = (content: { type: string; data?: Uint8Array }) => content.data!;
  const bootable = () => [
    dir("usr", USR),
    dir("boot", { mode: 0o700, mtimeSec: 1n, mtimeNsec: 2 }),
    file("boot/vmlinuz"),
    dir("sysroot", { mtimeSec: 3n, mtimeNsec: 4 }),
    dir("sysroot/ostree"),
  ];

  test("/boot and /sysroot are empty, and as old as /usr", () => {
    const tree = merge(bootable());
    transformForBoot(tree, read);
    expect(paths(tree)).toEqual(["/", "/boot", "/sysroot", "/usr"]);
    expect(at(tree, "boot").stat).toMatchObject({ mode: 0o700, mtimeSec: 100n, mtimeNsec: 250 });
    expect(at(tree, "sysroot").stat).toMatchObject({ mtimeSec: 100n, mtimeNsec: 250 });
  });

  test.each(["boot", "sysroot"])("/%s must be a directory", (name) => {
    const without = bootable().filter(({ path }) => !path.startsWith(name));
    expect(() => transformForBoot(merge(without), read)).toThrow(
      `/${name} does not exist: a bootable image needs it`,
    );
    expect(() => transformForBoot(merge(without, [symlink(name, "x")]), read)).toThrow(
      `/${name} is not a directory`,
    );
  });

  describe("SELinux", () => {
    const withConfig = (...entries: Parameters<typeof merge>[0]) =>
      merge([...bootable(), dir("etc"), dir("etc/selinux"), ...entries]);

    test.each([
      "# nothing\n",
      "SELINUX=enforcing\n#SELINUXTYPE=targeted\n",
      "",
      "SELINUXTYPES=x\nSELINUXTYPE\n",
    ])("config %j names no policy: labels go", (config) => {
      const tree = withConfig(
        file("etc/selinux/config", config),
        file("f", "", { xattrs: xattrs({ "security.selinux": "s", "user.a": "1" }) }),
      );
      transformForBoot(tree, read);
      expect([...at(tree, "f").stat.xattrs.keys()]).toEqual(["user.a"]);
    });

    test("labels are those of the policy, where /boot and /sysroot are empty already", () => {
      const files = "etc/selinux/targeted/contexts/files";
      const tree = withConfig(
        file("etc/selinux/config", "SELINUXTYPE=targeted\n"),
        dir("etc/selinux/targeted"),
        dir("etc/selinux/targeted/contexts"),
        dir(files),
        file(`${files}/file_contexts`, "/.* u:r:t:s0\n"),
        link("usr/vmlinuz", "boot/vmlinuz"),
      );
      transformForBoot(tree, read);
      expect(paths(tree)).not.toContain("/boot/vmlinuz");
      const label = (path: string) => at(tree, path).stat.xattrs.get(ascii("security.selinux"));
      expect(["", "boot", "usr/vmlinuz"].map(label)).toEqual(
        Array(3).fill(toBytes(ascii("u:r:t:s0"))),
      );
    });

    test("without a config there is no policy; one that is no file is refused", () => {
      expect(() => transformForBoot(withConfig(), read)).not.toThrow();
      expect(() => transformForBoot(withConfig(dir("etc/selinux/config")), read)).toThrow(
        "/etc/selinux/config: expected a regular file",
      );
      expect(() =>
        transformForBoot(merge([...bootable(), dir("etc"), symlink("etc/selinux", "x")]), read),
      ).toThrow('"selinux" is not a directory');
    });
  });
});
