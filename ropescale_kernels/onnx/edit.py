"""Edits of an exported program: constants, operations in place of calls, and the signature."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree


class Edit:
    """A copy of a program's graph, to be changed; the weights are shared."""

    def __init__(self, program: ExportedProgram) -> None:
        self.graph = copy.deepcopy(program.graph)
        self._program = program
        self._inputs = list(program.graph_signature.input_specs)
        self._constants: dict[Any, Any] = dict(program.constants)
        # Placeholders of constants that are dropped if nothing reads them in the end.
        self._ours: set[Node] = set()

    def value(self, node: Any) -> Any:
        """Return the tensor that a node stands for, None if it is no constant or is written."""
        for spec in self._inputs:
            if isinstance(node, Node) and _names(spec, node) and not _is_written(node):
                self._ours.add(node)
                return self._constants[spec.target]
        return None

    def constant(self, name: str, value: Tensor, like: Node) -> Node:
        """Return a new placeholder of a tensor, on the device of another node's value."""
        fake = like.meta["val"]
        value = value.to(fake.device)
        target = f"{name}_{sum(key.startswith(name) for key in self._constants)}"
        with self.graph.inserting_before(next(iter(self.graph.nodes))):
            node: Node = self.graph.placeholder(f"c_{target}")
        node.meta["val"] = fake.fake_mode.from_tensor(value, static_shapes=True)
        argument = TensorArgument(name=node.name)
        self._inputs.insert(0, InputSpec(InputKind.CONSTANT_TENSOR, argument, target))
        self._constants[target] = value
        self._ours.add(node)
        return node

    def trace(
        self, before: Node, function: Callable[..., Sequence[Tensor]], *args: Any, **options: Any
    ) -> list[Node]:
        """Insert the operations of a function before a node, and return its results.

        The function takes tensors where `args` holds nodes.
        """
        leaves, tree = _pytree.tree_flatten(args)
        nodes = [x for x in leaves if isinstance(x, Node)]

        def of_nodes(*tensors: Tensor) -> list[Tensor]:
            given = iter(tensors)
            filled = [next(given) if isinstance(x, Node) else x for x in leaves]
            return list(function(*_pytree.tree_unflatten(filled, tree), **options))

        fakes = [node.meta["val"] for node in nodes]
        with torch.no_grad(), fakes[0].fake_mode:
            part = make_fx(of_nodes)(*fakes).graph
        inputs = [node for node in part.nodes if node.op == "placeholder"]
        node = before.prev
        with self.graph.inserting_before(before):
            results = self.graph.graph_copy(part, dict(zip(inputs, nodes, strict=True)))
        while (node := node.next) is not before:
            node.meta.update(_place(before))
        return list(results)

    def replace(self, call: Node, results: Sequence[Node]) -> None:
        """Put new results in the place of a call's, under the names that signatures hold."""
        for item in list(call.users):
            assert item.target is operator.getitem
            index = item.args[1]
            assert isinstance(index, int)
            if index >= len(results):
                # The empty tensor that stands for an absent k.
                self.graph.erase_node(item)
                continue
            new = results[index]
            item.target, item.args, item.kwargs = new.target, new.args, new.kwargs
            item.meta["val"] = new.meta["val"]
            self.graph.erase_node(new)
        self.graph.erase_node(call)

    def write(self, call: Node, written: Sequence[Node], results: Sequence[Node]) -> None:
        """Put copies of results into their targets in the place of a call that writes them."""
        with self.graph.inserting_before(call):
            for target, new in zip(written, results, strict=True):
                copied = self.graph.call_function(torch.ops.aten.copy_.default, (target, new))
                copied.meta = {"val": target.meta["val"]}
                copied.meta.update(_place(call))
        self.graph.erase_node(call)

    def finish(self) -> ExportedProgram:
        """Return the edited program, without the constants of tables that nothing reads."""
        for node in self._ours:
            if not node.users:
                spec = next(spec for spec in self._inputs if _names(spec, node))
                self._inputs.remove(spec)
                self._constants.pop(spec.target)
                self.graph.erase_node(node)
        program = self._program
        signature = copy.copy(program.graph_signature)
        signature.input_specs = self._inputs
        return ExportedProgram(
            root=program.graph_module,
            graph=self.graph,
            graph_signature=signature,
            state_dict=program.state_dict,
            range_constraints=copy.deepcopy(program.range_constraints),
            module_call_graph=copy.deepcopy(program.module_call_graph),
            example_inputs=program.example_inputs,
            constants=self._constants,
            verifiers=program.verifiers,
        )


def _names(spec: InputSpec, node: Node) -> bool:
    """Return whether a placeholder is the constant that an input of the signature describes."""
    is_constant = spec.kind is InputKind.CONSTANT_TENSOR
    return is_constant and getattr(spec.arg, "name", None) == node.name


def _is_written(node: Node) -> bool:
    schemas = [getattr(user.target, "_schema", None) for user in node.users]
    return any(
        schema is not None and schema.arguments[at].is_write
        for user, schema in zip(node.users, schemas, strict=True)
        for at, x in enumerate(user.args)
        if x is node
    )


def _place(node: Node) -> dict[str, Any]:
    """Return what torch knows of the place of a call in the model."""
    return {key: node.meta[key] for key in ("nn_module_stack", "stack_trace") if key in node.meta}
