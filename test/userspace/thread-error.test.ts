import { expect, test } from "vitest";
import { LinuxError } from "../../src/linux/linux.ts";
import { describeError, isInternal } from "../../userspace/cli/errors.ts";
import { RepositoryError } from "../../userspace/repository/errors.ts";
import { packError, unpackError } from "../../userspace/thread-error.ts";

const travelled = (thrown: unknown) => unpackError(structuredClone(packError(thrown)));

test("what a person is told of an error, its hints and its places too, is the same on another thread", () => {
  const errno = new LinuxError(28, "ENOSPC", "No space left on device", "write", "fd 5");
  const chains: unknown[] = [
    new Error("layer 1", { cause: new RepositoryError("read-only", "it is", { hint: "do this" }) }),
    new Error("a", { cause: new Error("b", { cause: errno }) }),
    Object.assign(new Error("ENOENT: no such file or directory, open '/x'"), {
      code: "ENOENT",
      syscall: "open",
      path: "/x",
    }),
    new TypeError("x is not a function"),
    "not even an error",
  ];
  for (const chain of chains) {
    const { stacks, ...told } = describeError(travelled(chain));
    const expected = describeError(chain);
    expect(told).toEqual({ message: expected.message, hints: expected.hints });
    if (chain instanceof Error) expect(stacks).toEqual(expected.stacks);
  }
});

test("the system's codes and faults in the program are still told apart", () => {
  const errno = new LinuxError(28, "ENOSPC", "No space left on device", "write", "fd 5");
  expect(travelled(errno)).toMatchObject({ name: "LinuxError", code: "ENOSPC", errno: 28 });
  expect(isInternal(travelled(new TypeError("x")))).toBe(true);
  expect(isInternal(travelled(errno))).toBe(false);
});

test("an error that causes itself ends somewhere", () => {
  const error = new Error("round");
  error.cause = error;
  expect(describeError(travelled(error)).message).toContain("round");
});
