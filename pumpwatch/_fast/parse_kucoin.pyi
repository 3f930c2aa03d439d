from pumpwatch._fast.parser import Parser

SPOT: Parser
FUTURES: Parser
