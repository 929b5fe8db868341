"""Networks are looked at as they were written, and torch's compiler is imported by nobody who does not compile."""

import subprocess
import sys

PROGRAM = """
import sys, torch
from torch import nn
from layerlottery.networks.blocks import find_blocks

compiled = []
def backend(graph, inputs):
    compiled.append(graph)
    return graph.forward

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
    def forward(self, x):
        return x + self.conv(x)

class Network(nn.Module):
    '''Compiles its blocks in its first pass.'''
    def __init__(self):
        super().__init__()
        self.blocks, self.ready = nn.ModuleList(Block() for _ in range(3)), {}
    def forward(self, x):
        for name, block in self.blocks.named_children():
            if COMPILES:
                block = self.ready.setdefault(name, torch.compile(block, backend=backend))
            x = block(x)
        return x

found = list(find_blocks(Network(), torch.rand(2, 3, 4, 4)))
before = len(compiled), "torch._dynamo" in sys.modules
if COMPILES:
    Network()(torch.rand(2, 3, 4, 4))
print(found, *before, len(compiled) > 0)
"""


def run(compiles):
    program = f"COMPILES = {compiles}\n{PROGRAM}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_blocks_are_found_without_the_compiler():
    assert run(False) == "['blocks.0', 'blocks.1', 'blocks.2'] 0 False False"


def test_a_network_that_compiles_itself_in_its_first_pass_is_seen_as_written_and_compiles_afterwards():
    assert run(True) == "['blocks.0', 'blocks.1', 'blocks.2'] 0 True True"
