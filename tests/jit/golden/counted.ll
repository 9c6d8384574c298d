!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
define i64 @"counted"(ptr %cpu, i64 %a) nounwind {
entry:
  %.1 = and i64 %a, 3
  switch i64 %.1, label %case.5 [ i64 0, label %case.3 i64 1, label %case.3 i64 2, label %case.4 ]
case.3:
  %.6 = getelementptr [8 x i8], ptr %cpu, i64 1
  %.7 = atomicrmw add ptr %.6, i64 %a seq_cst, align 8
  ret i64 %.7
case.4:
  %.8 = udiv i64 %a, 3
  ret i64 %.8
case.5:
  %.13 = icmp ult i64 %a, 9
  br i1 %.13, label %further.12, label %else.10
further.12:
  %.15 = icmp ne i64 %a, 5
  br i1 %.15, label %then.9, label %further.14
further.14:
  %.16 = icmp eq i64 %a, 7
  br i1 %.16, label %then.9, label %else.10
then.9:
  br label %end.11
else.10:
  br label %end.11
end.11:
  %.17 = phi i64 [ %a, %then.9 ], [ 9, %else.10 ]
  ret i64 %.17
}
